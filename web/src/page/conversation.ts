import type { Calls, Chat, Message } from '../talk.ts'
import { make, the, time } from './dom.ts'
import { tick } from './ticks.ts'
import type { Viewer } from './viewer.ts'

/** So near to its end the log follows what comes, px. */
const nearEnd = 80
/** While somebody types it is said again so often, and ended after so long a pause. */
const typingAgainMs = 4000
const typingPauseMs = 5000

/** The open chat: its messages and what is being written. */
export class Conversation {
  readonly #worker: Calls
  readonly #viewer: Viewer
  readonly #log = the('log')
  readonly #older = the<HTMLButtonElement>('older')
  readonly #text = the<HTMLTextAreaElement>('text')
  readonly #fault = the('fault')
  readonly #shown = new Map<string, { message: Message; element: HTMLElement }>()
  /** What was begun to be written, by chat. */
  readonly #drafts = new Map<string, string>()
  #chat: Chat | null = null
  #typedAt = 0
  #pause = 0

  constructor(worker: Calls, viewer: Viewer) {
    this.#worker = worker
    this.#viewer = viewer
    this.#older.onclick = () => void this.#showOlder()
    this.#text.oninput = () => this.#typing(this.#text.value !== '')
    this.#text.onkeydown = (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
      event.preventDefault()
      void this.#send()
    }
    the('write').onsubmit = (event) => {
      event.preventDefault()
      void this.#send()
    }
    const file = the<HTMLInputElement>('file')
    file.onchange = () => {
      if (file.files?.[0]) void this.#sendPicture(file.files[0])
      file.value = ''
    }
    const paste = (data: DataTransfer | null, event: Event) => {
      const picture = [...(data?.files ?? [])].find((each) => each.type.startsWith('image/'))
      if (!picture || !this.#chat) return
      event.preventDefault()
      void this.#sendPicture(picture)
    }
    the('chat').addEventListener('paste', (event) => paste(event.clipboardData, event))
    the('chat').addEventListener('dragover', (event) => event.preventDefault())
    the('chat').addEventListener('drop', (event) => paste(event.dataTransfer, event))
  }

  get peer(): string {
    return this.#chat?.peer ?? ''
  }

  /** Shows a chat; null: none. */
  async open(chat: Chat | null): Promise<void> {
    if (this.#chat) {
      this.#typing(false)
      this.#drafts.set(this.#chat.peer, this.#text.value)
    }
    this.#chat = chat
    this.#shown.clear()
    this.#log.replaceChildren(this.#older)
    this.#older.hidden = true
    this.#fault.hidden = true
    if (!chat) return
    the('with').textContent = chat.peer
    this.#text.value = this.#drafts.get(chat.peer) ?? ''
    await this.#load('')
    this.#log.scrollTop = this.#log.scrollHeight
  }

  async #load(before: string): Promise<void> {
    const { peer } = this
    const { messages, more } = await this.#worker.page(peer, before)
    if (peer !== this.peer) return
    for (const message of messages) this.#put(message)
    this.#older.hidden = !more
  }

  async #showOlder(): Promise<void> {
    const first = [...this.#shown.values()].reduce((a, b) => (a.message.order < b.message.order ? a : b))
    const fromEnd = this.#log.scrollHeight - this.#log.scrollTop
    this.#older.disabled = true
    await this.#load(first.message.order).catch((err) => this.#say(err))
    this.#older.disabled = false
    this.#log.scrollTop = this.#log.scrollHeight - fromEnd // what was seen stays where it was
    if (this.#older.hidden) first.element.scrollIntoView({ block: 'nearest' })
  }

  /** Takes in that watermarks of the chat moved. */
  update(chat: Chat): void {
    const before = this.#chat
    this.#chat = chat
    if (before && before.delivered === chat.delivered && before.read === chat.read) return
    for (const { message, element } of this.#shown.values()) if (message.mine) element.querySelector('.tick')?.replaceWith(tick(message, chat))
  }

  /** Shows a message that is new or has changed. */
  take(message: Message): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#log
    this.#put(message)
    if (scrollHeight - scrollTop - clientHeight < nearEnd || (message.mine && message.stage === 'waiting')) this.#log.scrollTop = this.#log.scrollHeight
  }

  #put(message: Message): void {
    const known = this.#shown.get(message.key)
    const element = known?.element ?? make('article')
    this.#fill(element, message)
    this.#shown.set(message.key, { message, element })
    element.dataset['order'] = message.order
    if (known && known.message.order === message.order) return
    // Most belong at the end.
    let next: Element | null = null
    for (let each = this.#log.lastElementChild; each && each !== this.#older; each = each.previousElementSibling) {
      if (each === element) continue
      if ((each as HTMLElement).dataset['order']! < message.order) break
      next = each
    }
    if (element.parentElement !== this.#log || element.nextElementSibling !== next) this.#log.insertBefore(element, next)
  }

  #fill(element: HTMLElement, message: Message): void {
    element.className = message.mine ? 'message mine' : 'message'
    const foot = make('p', 'foot', time(message.at))
    if (message.mine) foot.append(tick(message, this.#chat!))
    const parts: HTMLElement[] = [make('span', 'for-ears', message.mine ? 'You: ' : `${message.peer}: `)]
    if (message.file) parts.push(element.querySelector<HTMLElement>('.file') ?? this.#viewer.button(message))
    if (message.text) parts.push(make('p', 'text', message.text))
    if (message.note) parts.push(make('p', 'note', message.note))
    element.replaceChildren(...parts, foot)
  }

  async #send(): Promise<void> {
    const text = this.#text.value.trim()
    const { peer } = this
    if (!text || !peer) return
    this.#text.value = ''
    this.#typing(false)
    try {
      await this.#worker.send(peer, text)
      this.#fault.hidden = true
    } catch (err) {
      if (peer === this.peer && !this.#text.value) this.#text.value = text // it was not kept
      this.#say(err)
    }
  }

  async #sendPicture(file: File): Promise<void> {
    try {
      await this.#worker.sendPicture(this.peer, file)
      this.#fault.hidden = true
    } catch (err) {
      this.#say(err)
    }
  }

  #say(err: unknown): void {
    this.#fault.textContent = err instanceof Error ? err.message : String(err)
    this.#fault.hidden = false
  }

  #typing(on: boolean): void {
    clearTimeout(this.#pause)
    const { peer } = this
    if (on) this.#pause = window.setTimeout(() => this.#typing(false), typingPauseMs)
    if (on ? performance.now() - this.#typedAt < typingAgainMs : this.#typedAt === -typingAgainMs) return
    this.#typedAt = on ? performance.now() : -typingAgainMs
    void this.#worker.typing(peer, on).catch(() => {})
  }
}
