import type { Calls, Message } from '../talk.ts'
import { make, the } from './dom.ts'

/** Reactions to choose from; any other can be typed. */
const quick = ['👍', '❤️', '😂', '😮', '😢', '🙏']
/** The most bytes of a reaction: the SDK's maxReactionBytes. */
const reactionBytes = 64

/** Where a reply or an edit is written. */
export interface Desk {
  reply(message: Message): void
  edit(message: Message): void
}

/** The dialog with what can be done with a message. */
export class Actions {
  readonly #worker: Calls
  readonly #me: string
  readonly #say: (err: unknown) => void
  readonly #dialog = the<HTMLDialogElement>('act')
  readonly #emoji = the<HTMLInputElement>('act-emoji')
  #message!: Message

  /** say shows what went wrong; null: nothing. */
  constructor(worker: Calls, me: string, desk: Desk, say: (err: unknown) => void) {
    this.#worker = worker
    this.#me = me
    this.#say = say
    the('act-reply').onclick = () => this.#close(() => desk.reply(this.#message))
    the('act-edit').onclick = () => this.#close(() => desk.edit(this.#message))
    the('act-delete').onclick = () => this.#ask(true)
    the('act-keep').onclick = () => this.#ask(false)
    the('act-really').onclick = () => this.#close(() => this.#change('delete', ''))
    the('act-other').onsubmit = (event) => {
      event.preventDefault()
      const text = this.#emoji.value.trim()
      const long = new TextEncoder().encode(text).length > reactionBytes
      this.#emoji.setCustomValidity(text === '' || long ? 'One emoji' : '')
      if (this.#emoji.reportValidity()) this.#close(() => this.react(this.#message, text))
    }
    this.#emoji.oninput = () => this.#emoji.setCustomValidity('')
  }

  /** Shows what can be done with a message; with remove it asks whether to delete it. */
  open(message: Message, remove = false): void {
    this.#message = message
    const own = message.reactions.find((each) => each.user === this.#me)?.text
    the('act-title').textContent = message.mine ? 'Your message' : `Message from ${message.from}`
    the('act-said').textContent = message.text || (message.file ? 'Picture' : message.note)
    the('act-quick').replaceChildren(...quick.map((text) => this.#quick(text, own)))
    if (own && !quick.includes(own)) the('act-quick').append(this.#quick(own, own))
    this.#emoji.value = ''
    this.#emoji.setCustomValidity('')
    the('act-edit').hidden = !message.mine || message.file !== null || message.text === ''
    the('act-delete').hidden = !message.mine
    this.#ask(false)
    this.#dialog.showModal()
    if (remove && message.mine) this.#ask(true)
  }

  react(message: Message, text: string): void {
    this.#message = message
    this.#change('reaction', text)
  }

  #quick(text: string, own: string | undefined): HTMLButtonElement {
    const button = make('button', '', text)
    button.type = 'button'
    button.setAttribute('aria-pressed', String(text === own))
    button.onclick = () => this.#close(() => this.react(this.#message, text === own ? '' : text))
    return button
  }

  /** A deletion cannot be taken back: it is asked for twice. */
  #ask(sure: boolean): void {
    the('act-sure').hidden = !sure
    for (const id of ['act-quick', 'act-other', 'act-list']) the(id).hidden = sure
    if (sure) the('act-keep').focus()
    else if (this.#dialog.open) the('act-delete').focus()
  }

  #close(then: () => void): void {
    this.#dialog.close()
    then()
  }

  #change(kind: 'delete' | 'reaction', text: string): void {
    this.#worker.change(this.#message.key, kind, text).then(() => this.#say(null), this.#say)
  }
}
