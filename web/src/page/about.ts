import type { Calls, Chat } from '../talk.ts'
import { make, the } from './dom.ts'
import { lifeText } from './life.ts'

/** For how long messages can be set to live, s, as far as the server takes it. */
const lives = [3600, 86_400, 7 * 86_400, 90 * 86_400]

/** The dialog about a chat: how long messages live, and blocking. */
export class About {
  /** For how long a message may live at most, s, as the server last said. */
  longest = Infinity
  readonly #worker: Calls
  readonly #dialog = the<HTMLDialogElement>('about')
  readonly #life = the<HTMLSelectElement>('life')
  readonly #fault = the('about-fault')
  #chat!: Chat

  constructor(worker: Calls) {
    this.#worker = worker
    the('about-timer').onsubmit = (event) => {
      event.preventDefault()
      const seconds = Number(this.#life.value)
      if (seconds === this.#chat.timer) return this.#dialog.close()
      this.#do(this.#worker.setTimer(this.#chat.peer, seconds))
    }
    the('block').onclick = () => this.#do(this.#worker.block(this.#chat.peer, true))
    the('unblock').onclick = the('unblock-here').onclick = () => this.#do(this.#worker.block(this.#chat.peer, false))
  }

  /** The open chat is this one, or has changed. */
  show(chat: Chat): void {
    this.#chat = chat
    the('blocked-name').textContent = chat.peer
    if (!this.#dialog.open) return
    the('block').hidden = chat.blocked
    the('unblock').hidden = !chat.blocked
  }

  open(): void {
    const { title, group, timer, blocked, out, peer } = this.#chat
    the('about-title').textContent = title
    the('about-timer').hidden = out || blocked
    const all = [...new Set([timer, ...lives.filter((each) => each <= this.longest)])].filter((each) => each > 0).sort((a, b) => a - b)
    this.#life.replaceChildren(option(0, 'Never'), ...all.map((each) => option(each, `After ${lifeText(each)}`)))
    this.#life.value = String(timer)
    the('blocking').hidden = group
    the('block').textContent = `Block ${peer}`
    the('unblock').textContent = `Unblock ${peer}`
    this.#fault.hidden = true
    this.#dialog.showModal()
    this.show(this.#chat)
  }

  #do(done: Promise<void>): void {
    done.then(() => this.#dialog.close(), (err: Error) => {
      this.#fault.textContent = err.message
      this.#fault.hidden = false
      if (!this.#dialog.open) this.#dialog.showModal()
    })
  }
}

function option(seconds: number, text: string): HTMLOptionElement {
  const each = make('option', '', text)
  each.value = String(seconds)
  return each
}
