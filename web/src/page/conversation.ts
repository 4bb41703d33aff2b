import type { Member } from '../../../sdk/js/src/index.ts'
import type { Calls, Chat, Message } from '../talk.ts'
import { changeText } from './changes.ts'
import { make, the, time } from './dom.ts'
import { isThrough, readBy, tick } from './ticks.ts'
import type { Viewer } from './viewer.ts'

/** So near to its end the log follows what comes, px. */
const nearEnd = 80
/** While somebody types it is said again so often, and ended after so long a pause. */
const typingAgainMs = 4000
const typingPauseMs = 5000

/** The open chat: its messages and what is being written. */
export class Conversation {
  readonly #worker: Calls
  readonly #me: string
  readonly #viewer: Viewer
  readonly #log = the('log')
  readonly #older = the<HTMLButtonElement>('older')
  readonly #text = the<HTMLTextAreaElement>('text')
  readonly #fault = the('fault')
  readonly #shown = new Map<string, { message: Message; element: HTMLElement }>()
  /** What was begun to be written, by chat. */
  readonly #drafts = new Map<string, string>()
  #chat: Chat | null = null
  /** Of a group. */
  #members: readonly Member[] = []
  #typedAt = 0
  #pause = 0

  constructor(worker: Calls, me: string, viewer: Viewer) {
    this.#worker = worker
    this.#me = me
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

  /** Reports whether something the user wrote to the open group has not been read by all. */
  get waits(): boolean {
    const chat = this.#chat
    return chat !== null && chat.group && !chat.out && [...this.#shown.values()].some(({ message }) => message.mine && message.place > 0n && !isThrough(message, chat))
  }

  /** Shows a chat; null: none. members are those of a group. */
  async open(chat: Chat | null, members: readonly Member[] = []): Promise<void> {
    if (this.#chat) {
      this.#typing(false)
      this.#drafts.set(this.#chat.peer, this.#text.value)
    }
    this.#chat = chat
    this.#members = members
    this.#shown.clear()
    this.#log.replaceChildren(this.#older)
    this.#older.hidden = true
    this.#fault.hidden = true
    if (!chat) return
    this.#head(chat)
    this.#text.value = this.#drafts.get(chat.peer) ?? ''
    await this.#load('')
    this.#log.scrollTop = this.#log.scrollHeight
  }

  #head(chat: Chat): void {
    the('with').textContent = chat.title
    the('write').hidden = chat.out
    the('out').hidden = !chat.out
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

  /** Takes in that watermarks of the chat moved, or what it is called. */
  update(chat: Chat): void {
    const before = this.#chat
    this.#chat = chat
    this.#head(chat)
    if (!before || before.delivered !== chat.delivered || before.read !== chat.read) this.#ticks()
  }

  /** Takes in who is in the group, and how far they have come. */
  know(members: readonly Member[]): void {
    this.#members = members
    this.#ticks()
  }

  #ticks(): void {
    for (const { message, element } of this.#shown.values()) if (message.mine && !message.change) element.querySelector('.foot')?.replaceWith(this.#foot(message))
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
    if (message.change) return this.#fillChange(element, message)
    const { group } = this.#chat!
    element.className = message.mine ? 'message mine' : 'message'
    const named = group && !message.mine
    const parts: HTMLElement[] = [make(named ? 'p' : 'span', named ? 'from' : 'for-ears', message.mine ? 'You: ' : `${message.from}${named ? '' : ': '}`)]
    if (message.file) parts.push(element.querySelector<HTMLElement>('.file') ?? this.#viewer.button(message))
    if (message.text) parts.push(make('p', 'text', message.text))
    if (message.note) parts.push(make('p', 'note', message.note))
    element.replaceChildren(...parts, this.#foot(message))
  }

  /** A change of a group is a line between the messages. */
  #fillChange(element: HTMLElement, message: Message): void {
    element.className = 'change'
    const text = make('p', '', changeText(message, this.#me))
    if (message.stage === 'waiting') text.append(' ', tick(message, this.#chat!))
    if (message.stage === 'failed') text.append(': not done. ', message.note)
    else if (message.note) text.append('. ', message.note)
    element.replaceChildren(text)
  }

  #foot(message: Message): HTMLElement {
    const foot = make('p', 'foot')
    if (message.mine) {
      const read = make('span', '', readBy(message, this.#chat!, this.#members))
      read.setAttribute('aria-hidden', 'true') // the tick says it, and more
      foot.append(read)
    }
    foot.append(time(message.at))
    if (message.mine) foot.append(tick(message, this.#chat!, this.#members))
    return foot
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
