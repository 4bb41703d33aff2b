import type { Calls, Chat, Device } from '../talk.ts'
import { actButton, make, the, time } from './dom.ts'
import { drawCode } from './scan.ts'

/** For how long a code is good. */
const codeMs = 10 * 60_000

/** The dialog with the user's devices: it names them, takes them away, and shows the code that links another one. */
export class Devices {
  readonly #worker: Calls
  readonly #dialog = the<HTMLDialogElement>('devices')
  readonly #list = the('device-list')
  readonly #label = the<HTMLInputElement>('device-label')
  readonly #naming = the<HTMLFormElement>('device-name')
  readonly #sure = the('device-sure')
  readonly #history = the<HTMLInputElement>('link-history')
  readonly #without = the<HTMLDetailsElement>('link-without')
  readonly #left = the('link-chats')
  readonly #fault = the('devices-fault')
  /** Which one is named, or taken away. */
  #device: Device | null = null
  /** When the code that is shown ends; 0: none is. */
  #timer = 0

  /** chats are those that history can be handed over of. */
  constructor(worker: Calls, chats: () => Chat[]) {
    this.#worker = worker
    the('devices-open').onclick = () => this.#open(chats())
    this.#history.onchange = () => this.#choose()
    this.#dialog.onclose = () => this.#withdraw('')
    this.#naming.onsubmit = (event) => {
      event.preventDefault()
      this.#do(this.#worker.nameDevice(this.#device!.name, this.#label.value.trim()), '')
    }
    the('device-unnamed').onclick = the('device-keep').onclick = () => this.#back()
    the('device-revoke').onclick = () => this.#do(this.#worker.revokeDevice(this.#device!.name), `${called(this.#device!)} is no device of yours any more.`)
    the('link-offer').onsubmit = (event) => {
      event.preventDefault()
      void this.#offer()
    }
    the('link-withdraw').onclick = () => this.#withdraw('The code was withdrawn.')
  }

  /** A device gave the code. */
  used(device: string, fault: string): void {
    if (fault) return this.#say(`${device} was refused. ${fault}`)
    this.#hideCode()
    this.#say(this.#history.checked ? `${device} is linked. What was said before is handed over \u2026` : `${device} is linked. What was said before is left out.`)
    void this.#load()
  }

  /** What was said before is on its way to a device that was linked, or a fault says why not. */
  handed(device: string, fault: string): void {
    const but = this.#chosen.length > 0 ? ', but for the chats that were left out' : ''
    this.#say(`${device} is linked. ${fault || `What was said before was handed over${but}.`}`)
    void this.#load() // it has said by now that it is one
  }

  #open(chats: Chat[]): void {
    this.#list.replaceChildren()
    the('link-offer').hidden = !the('elsewhere').hidden
    this.#history.checked = true
    this.#without.open = false
    this.#left.replaceChildren(...chats.map(chatItem))
    this.#choose()
    this.#say('')
    this.#show(null)
    this.#dialog.showModal()
    the('devices-title').focus()
    void this.#load()
  }

  /** Chats are left out of history where there is some. */
  #choose(): void {
    this.#without.hidden = !this.#history.checked || this.#left.childElementCount === 0
  }

  /** The chats that are left out. */
  get #chosen(): string[] {
    return this.#without.hidden ? [] : [...this.#left.querySelectorAll<HTMLInputElement>(':checked')].map((each) => each.value)
  }

  async #load(): Promise<void> {
    const state = the('devices-state')
    if (this.#list.childElementCount === 0) state.textContent = 'Asking the server \u2026'
    try {
      const all = await this.#worker.devices()
      this.#list.replaceChildren(...all.map((each) => this.#item(each)))
      state.textContent = `${all.length} ${all.length === 1 ? 'device' : 'devices'}`
    } catch (err) {
      state.textContent = ''
      this.#fail(err as Error)
    }
  }

  #item(device: Device): HTMLLIElement {
    const name = called(device)
    const since = make('span', 'hint', device.label ? `${device.name}, since ` : 'since ', time(device.since))
    const acts = make('span', 'acts', actButton('name', 'Rename', `Rename ${name}`, () => this.#show(device, this.#naming)))
    if (!device.here) acts.append(actButton('revoke', 'Take away', `Take away ${name}`, () => this.#show(device, this.#sure)))
    const item = make('li', '', make('span', 'member', name), device.here ? make('span', 'badge', 'this browser') : '', acts, since)
    item.dataset['device'] = device.name
    return item
  }

  /** Asks for a device's name, or whether to take it away. */
  #show(device: Device | null, what?: HTMLElement): void {
    this.#device = device
    this.#naming.hidden = what !== this.#naming
    this.#sure.hidden = what !== this.#sure
    if (!device) return
    this.#naming.querySelector('label')!.textContent = `Name of ${device.name}`
    this.#label.value = device.label
    the('device-question').textContent = `Take ${called(device)} away for ever? It gets nothing more, and keeps what it has. If it was stolen, also take your name over in a new browser: it has your identity, as all your devices have.`
    if (what === this.#naming) this.#label.focus()
    else the('device-keep').focus()
  }

  /** Goes back to the button that asked. */
  #back(): void {
    const name = this.#device?.name
    const act = this.#sure.hidden ? 'name' : 'revoke'
    this.#show(null)
    const item = [...this.#list.children].find((each) => (each as HTMLElement).dataset['device'] === name)
    const button = item?.querySelector<HTMLElement>(`[data-act="${act}"]`) ?? the('devices-title')
    button.focus()
  }

  #do(done: Promise<void>, text: string): void {
    this.#fault.hidden = true
    done.then(async () => {
      this.#say(text)
      await this.#load()
      this.#back()
    }, (err: Error) => this.#fail(err))
  }

  async #offer(): Promise<void> {
    this.#say('')
    try {
      const code = await this.#worker.offerLink(this.#history.checked, this.#chosen)
      if (!this.#dialog.open) return await this.#worker.withdrawLink()
      this.#showCode(code)
    } catch (err) {
      return this.#fail(err as Error)
    }
    the('link-offer').hidden = true
    the('link-shown').hidden = false
    the('link-code').focus()
    this.#timer = window.setTimeout(() => this.#withdraw('The code was too old. Show another one.'), codeMs)
  }

  #withdraw(text: string): void {
    if (this.#timer === 0) return
    this.#hideCode()
    this.#say(text)
    void this.#worker.withdrawLink().catch(() => {}) // without a connection nobody can give it
  }

  #hideCode(): void {
    clearTimeout(this.#timer)
    this.#timer = 0
    this.#showCode('')
    the('link-shown').hidden = true
    the('link-offer').hidden = false
    if (this.#dialog.open) the('devices-title').focus()
  }

  #showCode(code: string): void {
    the('link-code').textContent = code
    drawCode(the<SVGElement & HTMLElement>('link-qr'), code).catch(() => {}) // it can be typed
  }

  #say(text: string): void {
    the('link-state').textContent = text
    this.#fault.hidden = true
  }

  #fail(err: Error): void {
    this.#fault.textContent = err.message
    this.#fault.hidden = false
  }
}

function chatItem({ peer, title }: Chat): HTMLLIElement {
  const box = make('input')
  box.type = 'checkbox'
  box.value = peer
  return make('li', '', make('label', 'switch', box, ` ${title}`))
}

function called({ name, label }: Device): string {
  return label || name
}
