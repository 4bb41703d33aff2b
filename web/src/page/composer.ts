import type { Calls, Message } from '../talk.ts'
import { the } from './dom.ts'

/** While somebody types it is said again so often, and ended after so long a pause. */
const typingAgainMs = 4000
const typingPauseMs = 5000

/** What the composer has others do. */
export interface Around {
  /** Shows what went wrong; null: nothing. */
  say(err: unknown): void
  /** Goes up, to the messages. */
  up(): void
}

/** What is being written to the open chat: a message, a reply, or another text for a message. */
export class Composer {
  readonly #worker: Calls
  readonly #around: Around
  readonly #text = the<HTMLTextAreaElement>('text')
  readonly #bar = the('about-writing')
  /** What was begun to be written, by chat. */
  readonly #drafts = new Map<string, string>()
  #peer = ''
  #reply: Message | null = null
  #edit: Message | null = null
  #typedAt = 0
  #pause = 0

  constructor(worker: Calls, around: Around) {
    this.#worker = worker
    this.#around = around
    this.#text.oninput = () => this.#typing(this.#text.value !== '' && !this.#edit)
    this.#text.onkeydown = (event) => this.#key(event)
    the('writing-cancel').onclick = () => this.#cancel()
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
      if (!picture || !this.#peer || the('write').hidden) return
      event.preventDefault()
      void this.#sendPicture(picture)
    }
    the('chat').addEventListener('paste', (event) => paste(event.clipboardData, event))
    the('chat').addEventListener('dragover', (event) => event.preventDefault())
    the('chat').addEventListener('drop', (event) => paste(event.dataTransfer, event))
  }

  /** Goes on with what was begun for a chat; '': none. */
  open(peer: string): void {
    if (this.#peer) {
      this.#typing(false)
      this.#set(null, null)
      this.#drafts.set(this.#peer, this.#text.value)
    }
    this.#peer = peer
    this.#text.value = this.#drafts.get(peer) ?? ''
  }

  focus(): void {
    this.#text.focus()
  }

  reply(message: Message): void {
    this.#set(message, null)
    this.focus()
  }

  edit(message: Message): void {
    this.#set(null, message)
    this.focus()
  }

  /** A message has changed, or is gone: nobody replies to or edits what was deleted. */
  changed(key: string, there: boolean): void {
    if (!there && (this.#reply?.key === key || this.#edit?.key === key)) this.#set(null, null)
  }

  #set(reply: Message | null, edit: Message | null): void {
    if (edit && !this.#edit) this.#drafts.set(this.#peer, this.#text.value)
    if (edit) this.#text.value = edit.text
    else if (this.#edit) this.#text.value = this.#drafts.get(this.#peer) ?? ''
    this.#reply = reply
    this.#edit = edit
    const about = reply ?? edit
    this.#bar.hidden = about === null
    if (!about) return
    const [title, text] = this.#bar.querySelectorAll('span')
    title!.textContent = edit ? 'Edit' : `Reply to ${about.mine ? 'yourself' : about.from}`
    text!.textContent = about.text || (about.file ? 'Picture' : about.note)
  }

  #cancel(): void {
    this.#set(null, null)
    this.focus()
  }

  #key(event: KeyboardEvent): void {
    if (event.key === 'Escape' && !this.#bar.hidden) {
      event.stopPropagation()
      this.#cancel()
    } else if (event.key === 'ArrowUp' && this.#text.value === '') {
      event.preventDefault()
      this.#around.up()
    } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault()
      void this.#send()
    }
  }

  async #send(): Promise<void> {
    const text = this.#text.value.trim()
    const [peer, reply, edit] = [this.#peer, this.#reply, this.#edit]
    if (!text || !peer) return
    this.#text.value = ''
    this.#typing(false)
    this.#set(null, null)
    try {
      if (!edit) await this.#worker.send(peer, text, reply?.id ?? '')
      else if (text !== edit.text) await this.#worker.change(edit.key, 'edit', text)
      this.#around.say(null)
    } catch (err) {
      if (peer === this.#peer && !this.#text.value) this.#text.value = text // it was not kept
      this.#around.say(err)
    }
  }

  async #sendPicture(file: File): Promise<void> {
    try {
      await this.#worker.sendPicture(this.#peer, file)
      this.#around.say(null)
    } catch (err) {
      this.#around.say(err)
    }
  }

  #typing(on: boolean): void {
    clearTimeout(this.#pause)
    const peer = this.#peer
    if (on) this.#pause = window.setTimeout(() => this.#typing(false), typingPauseMs)
    if (on ? performance.now() - this.#typedAt < typingAgainMs : this.#typedAt === -typingAgainMs) return
    this.#typedAt = on ? performance.now() : -typingAgainMs
    void this.#worker.typing(peer, on).catch(() => {})
  }
}
