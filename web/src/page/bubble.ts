import type { Member } from '../../../sdk/js/src/index.ts'
import type { Chat, Message, Quote } from '../talk.ts'
import { changeText } from './changes.ts'
import { make, symbol, time, timeText } from './dom.ts'
import { timerText } from './life.ts'
import { readBy, tick } from './ticks.ts'
import type { Viewer } from './viewer.ts'

/** What may be done with a message. */
export interface Touch {
  /** Opens what can be done with it. */
  act(message: Message): void
  /** Goes to the message of an id. */
  go(id: string): void
  /** Reacts, or takes that back. */
  react(message: Message, text: string): void
  /** Takes back a message whose picture is on its way. */
  cancel(message: Message): void
}

/** Reports whether a message is one to be replied to, reacted to and, where it is the user's, changed. */
export function canAct(message: Message, chat: Chat): boolean {
  const { id, stage, deleted, change, timer } = message
  return id !== '' && (stage === 'sent' || stage === 'received') && !deleted && !change && timer === null && !chat.out && !chat.blocked
}

/** Messages as elements of the log. */
export class Bubbles {
  readonly #me: string
  readonly #viewer: Viewer
  readonly #touch: Touch

  constructor(me: string, viewer: Viewer, touch: Touch) {
    this.#me = me
    this.#viewer = viewer
    this.#touch = touch
  }

  /** Makes an element show a message; quote is what it replies to as it is now. */
  fill(element: HTMLElement, message: Message, chat: Chat, members: readonly Member[], quote: Quote | null): void {
    element.tabIndex = -1 // the arrow keys go from one to the next
    if (message.change || message.timer !== null) return this.#fillLine(element, message, chat)
    const { mine, from, file, text, note, deleted } = message
    element.className = mine ? 'message mine' : 'message'
    element.setAttribute('aria-label', this.#label(message))
    const named = chat.group && !mine
    const parts: HTMLElement[] = [make(named ? 'p' : 'span', named ? 'from' : 'for-ears', mine ? 'You: ' : `${from}${named ? '' : ': '}`)]
    if (quote) parts.push(this.#quote(quote))
    if (file) parts.push(element.querySelector<HTMLElement>('.file') ?? this.#viewer.button(message))
    if (message.sending) parts.push(element.querySelector<HTMLElement>('.sending') ?? this.#sending(message))
    if (deleted) parts.push(make('p', 'note', mine ? 'You deleted this message' : 'This message was deleted'))
    else if (text) parts.push(make('p', 'text', text))
    if (note) parts.push(make('p', 'note', note))
    const reactions = this.#reactions(message, chat)
    if (reactions) parts.push(reactions)
    const base = make('div', 'base', this.foot(message, chat, members))
    if (canAct(message, chat)) base.prepend(this.#more(message))
    element.replaceChildren(...parts, base)
  }

  /** A change of a group, or of how long messages live, is a line between the messages. */
  #fillLine(element: HTMLElement, message: Message, chat: Chat): void {
    element.className = 'change'
    const text = make('p', '', message.change ? changeText(message, this.#me) : timerText(message))
    if (message.stage === 'waiting') text.append(' ', tick(message, chat))
    if (message.stage === 'failed') text.append(': not done. ', message.note)
    else if (message.note) text.append('. ', message.note)
    element.replaceChildren(text)
  }

  /** When a message was written, and how far it has come. */
  foot(message: Message, chat: Chat, members: readonly Member[]): HTMLElement {
    const foot = make('p', 'foot')
    if (message.mine) {
      const read = make('span', '', readBy(message, chat, members))
      read.setAttribute('aria-hidden', 'true') // the tick says it, and more
      foot.append(read)
    }
    if (message.edited) foot.append(make('span', '', 'edited'))
    if (message.changing) foot.append(make('span', '', 'change waits'))
    foot.append(time(message.at))
    if (message.mine) foot.append(tick(message, chat, members))
    return foot
  }

  /** A message as who comes to it with the keyboard hears it. */
  #label({ mine, from, text, file, note, deleted, edited, reply, reactions, at }: Message): string {
    const said = deleted ? 'deleted' : [file ? 'picture' : '', text, note].filter((each) => each).join(', ')
    const about = reply?.from ? `, reply to ${reply.from}: ${reply.text}` : ''
    const others = reactions.map((each) => `, ${each.text} from ${this.#name(each.user)}`).join('')
    return `${mine ? 'You' : from}: ${said}${edited ? ', edited' : ''}${about}${others}, ${timeText(at)}`
  }

  #name(user: string): string {
    return user === this.#me ? 'you' : user
  }

  #quote({ id, from, text }: Quote): HTMLElement {
    const button = make('button', 'quote')
    button.type = 'button'
    button.tabIndex = -1
    const ears = make('span', 'for-ears', 'Reply to ')
    if (from) button.append(ears, make('span', 'from', from === this.#me ? 'You' : from), make('span', 'said', text))
    else button.append(ears, make('span', 'said', 'A message that is not here'))
    button.onclick = () => this.#touch.go(id)
    return button
  }

  /** How far a picture is, and a way to take it back. */
  #sending(message: Message): HTMLElement {
    const { name } = message.file!
    const bar = make('progress')
    bar.max = 1
    bar.value = 0
    bar.setAttribute('aria-label', `Sending ${name}`)
    const button = make('button', '', 'Cancel')
    button.type = 'button'
    button.tabIndex = -1
    button.setAttribute('aria-label', `Cancel sending ${name}`)
    button.onclick = () => this.#touch.cancel(message)
    return make('div', 'sending', bar, button)
  }

  #reactions(message: Message, chat: Chat): HTMLElement | null {
    if (message.reactions.length === 0) return null
    const by = new Map<string, string[]>()
    for (const { user, text } of message.reactions) by.set(text, [...(by.get(text) ?? []), user])
    const group = make('div', 'reactions')
    group.setAttribute('role', 'group')
    group.setAttribute('aria-label', 'Reactions')
    for (const [text, users] of by) {
      const mine = users.includes(this.#me)
      const names = users.map((user) => this.#name(user)).join(', ')
      const button = make('button', '', make('span', '', text), users.length > 1 ? make('span', '', String(users.length)) : '', make('span', 'for-ears', ` from ${names}`))
      button.type = 'button'
      button.tabIndex = -1
      button.title = names
      button.disabled = !canAct(message, chat)
      button.setAttribute('aria-pressed', String(mine))
      button.onclick = () => this.#touch.react(message, mine ? '' : text)
      group.append(button)
    }
    return group
  }

  #more(message: Message): HTMLElement {
    const button = make('button', 'more', symbol('dots'))
    button.type = 'button'
    button.tabIndex = -1
    button.setAttribute('aria-label', 'Reply, react and more')
    button.setAttribute('aria-haspopup', 'dialog')
    button.onclick = () => this.#touch.act(message)
    return button
  }
}
