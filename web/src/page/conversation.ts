import type { Member } from '../../../sdk/js/src/index.ts'
import type { Calls, Chat, Message, Quote } from '../talk.ts'
import { Actions } from './actions.ts'
import { Bubbles, canAct } from './bubble.ts'
import { Composer } from './composer.ts'
import { make, the } from './dom.ts'
import type { Faces } from './faces.ts'
import { isThrough } from './ticks.ts'
import type { Viewer } from './viewer.ts'

/** So near to its end the log follows what comes, px. */
const nearEnd = 80

/** The open chat: its messages, and where the next one is written. */
export class Conversation {
  readonly #worker: Calls
  readonly #faces: Faces
  readonly #bubbles: Bubbles
  readonly #actions: Actions
  readonly #composer: Composer
  readonly #log = the('log')
  readonly #older = the<HTMLButtonElement>('older')
  readonly #fault = the('fault')
  readonly #shown = new Map<string, { message: Message; element: HTMLElement }>()
  /** The keys of messages by their ids, and of replies to an id. */
  readonly #keys = new Map<string, string>()
  readonly #replies = new Map<string, Set<string>>()
  #chat: Chat | null = null
  /** Of a group. */
  #members: readonly Member[] = []
  /** The log shows its end, and goes on doing so when it is given less room. */
  #atEnd = true

  constructor(worker: Calls, me: string, viewer: Viewer, faces: Faces) {
    this.#worker = worker
    this.#faces = faces
    const say = (err: unknown) => this.#say(err)
    this.#composer = new Composer(worker, { say, up: () => this.#last()?.focus() })
    this.#actions = new Actions(worker, me, this.#composer, say)
    this.#bubbles = new Bubbles(me, viewer, {
      act: (message) => this.#actions.open(message),
      react: (message, text) => this.#actions.react(message, text),
      cancel: (message) => this.#cancel(message),
      go: (id) => this.#shown.get(this.#keys.get(id) ?? '')?.element.focus(),
    })
    this.#older.onclick = () => void this.#showOlder()
    this.#log.onscroll = () => (this.#atEnd = this.#isNearEnd)
    new ResizeObserver(() => this.#atEnd && this.#toEnd()).observe(this.#log)
    this.#log.onkeydown = (event) => this.#key(event)
    // The buttons of a message are in the order of tabs while the focus is in it.
    this.#log.addEventListener('focusin', ({ target }) => this.#tabs(target, 0))
    this.#log.addEventListener('focusout', ({ target }) => this.#tabs(target, -1))
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
    this.#composer.open(chat?.peer ?? '')
    this.#chat = chat
    this.#members = members
    for (const map of [this.#shown, this.#keys, this.#replies]) map.clear()
    this.#log.replaceChildren(this.#older)
    this.#older.hidden = true
    this.#fault.hidden = true
    if (!chat) return
    this.#head(chat)
    await this.#load('')
    this.#toEnd()
  }

  get #isNearEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.#log
    return scrollHeight - scrollTop - clientHeight < nearEnd
  }

  #toEnd(): void {
    this.#log.scrollTop = this.#log.scrollHeight
  }

  #head({ peer, title, out, blocked, blockFault, leftOut, unannounced, unseen }: Chat): void {
    the('with').textContent = title
    this.#faces.show(the<HTMLImageElement>('with-face'), peer)
    the('write').hidden = out || blocked
    the('out').hidden = !out
    the('blocked').hidden = !blocked
    warn('block-fault', blockFault !== '', blockFault)
    warn('left-out', leftOut.length > 0 && !out, `Not for ${listOf(leftOut)}: what is sent here is not encrypted for who was never here, or whose safety number has changed.`)
    const odd = [
      unannounced.length > 0 ? `The server lists ${listOf(unannounced)} as a member, though nobody has added them. Nothing is encrypted for them.` : '',
      unseen.length > 0 ? `By the server\u2019s list ${listOf(unseen)} joined while this browser was away. What you send is for them too.` : '',
    ]
    warn('unannounced', odd.some((each) => each) && !out, odd.join(' '))
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

  /** Takes in that watermarks of the chat moved, what it is called, or that it is blocked. */
  update(chat: Chat): void {
    const before = this.#chat
    this.#chat = chat
    this.#head(chat)
    if (!before || before.delivered !== chat.delivered || before.read !== chat.read) this.#ticks()
    if (before && (before.blocked !== chat.blocked || before.out !== chat.out)) for (const { message } of [...this.#shown.values()]) this.#put(message)
  }

  /** Takes in who is in the group, and how far they have come. */
  know(members: readonly Member[]): void {
    this.#members = members
    this.#ticks()
  }

  #ticks(): void {
    for (const { message, element } of this.#shown.values()) {
      if (message.mine) element.querySelector('.foot')?.replaceWith(this.#bubbles.foot(message, this.#chat!, this.#members))
    }
  }

  /** Shows a message that is new or has changed. */
  take(message: Message): void {
    const follows = this.#isNearEnd
    this.#put(message)
    for (const key of this.#replies.get(message.id) ?? []) {
      const reply = this.#shown.get(key)
      if (reply) this.#put(reply.message)
    }
    if (message.deleted) this.#composer.changed(message.key, false)
    if (follows || (message.mine && message.stage === 'waiting')) this.#toEnd()
  }

  /** Shows how far a picture is on its way. */
  progress(key: string, share: number): void {
    const bar = this.#shown.get(key)?.element.querySelector('progress')
    if (bar) bar.value = share
  }

  /** Takes messages away that have disappeared, or were taken back. */
  drop(keys: string[]): void {
    for (const key of keys) {
      const gone = this.#shown.get(key)
      if (!gone) continue
      const focused = gone.element.contains(document.activeElement)
      gone.element.remove()
      this.#shown.delete(key)
      this.#keys.delete(gone.message.id)
      this.#composer.changed(key, false)
      for (const reply of this.#replies.get(gone.message.id) ?? []) {
        const shown = this.#shown.get(reply)
        if (shown) this.#put({ ...shown.message, reply: { id: gone.message.id, from: '', text: '' } })
      }
      if (focused) this.#log.focus()
    }
  }

  #put(message: Message): void {
    const known = this.#shown.get(message.key)
    const element = known?.element ?? make('article')
    this.#shown.set(message.key, { message, element })
    if (message.id) this.#keys.set(message.id, message.key)
    if (message.reply) this.#replies.set(message.reply.id, (this.#replies.get(message.reply.id) ?? new Set()).add(message.key))
    const focused = element !== document.activeElement && element.contains(document.activeElement)
    this.#bubbles.fill(element, message, this.#chat!, this.#members, this.#quote(message))
    if (focused) element.focus()
    else if (element === document.activeElement) this.#tabs(element, 0)
    element.dataset['order'] = message.order
    element.dataset['key'] = message.key
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

  /** What a message replies to, as it is now. */
  #quote({ reply }: Message): Quote | null {
    const target = reply && this.#shown.get(this.#keys.get(reply.id) ?? '')?.message
    if (!target) return reply
    const { id, from, deleted, text, file, note } = target
    return deleted ? { id, from: '', text: '' } : { id, from, text: text || (file ? 'Picture' : note) }
  }

  #last(): HTMLElement | null {
    return this.#log.querySelector('article:last-of-type')
  }

  /** From message to message by the arrow keys, and what can be done with the one that has the focus. */
  #key(event: KeyboardEvent): void {
    const at = (event.target as HTMLElement).closest<HTMLElement>('article, #older')
    const moves: Record<string, () => Element | null | undefined> = {
      ArrowUp: () => (at ? at.previousElementSibling : this.#last()),
      ArrowDown: () => at?.nextElementSibling ?? the('text'),
      Home: () => this.#log.querySelector('article'),
      End: () => this.#last(),
    }
    const to = moves[event.key]?.()
    if (to && (at || event.key !== 'ArrowDown')) {
      event.preventDefault()
      return (to as HTMLElement).focus()
    }
    const message = at && this.#shown.get(at.dataset['key']!)?.message
    if (!at || !message || event.ctrlKey || event.metaKey || event.altKey) return
    if (event.key === 'Escape') {
      event.stopPropagation()
      return the('write').hidden ? this.#log.focus() : this.#composer.focus()
    }
    if (event.target === at && message.sending && event.key === 'Delete') {
      event.preventDefault()
      return this.#cancel(message)
    }
    if (event.target !== at || !canAct(message, this.#chat!)) return
    const acts: Record<string, () => void> = {
      Enter: () => this.#actions.open(message),
      ' ': () => this.#actions.open(message),
      r: () => this.#composer.reply(message),
      e: () => (message.mine && message.text && !message.file ? this.#composer.edit(message) : undefined),
      Delete: () => (message.mine ? this.#actions.open(message, true) : undefined),
    }
    const act = acts[event.key]
    if (!act) return
    event.preventDefault()
    act()
  }

  #cancel({ key }: Message): void {
    void this.#worker.cancel(key).catch((err) => this.#say(err))
  }

  #tabs(target: EventTarget | null, index: number): void {
    const article = (target as HTMLElement | null)?.closest('article')
    for (const button of article?.querySelectorAll<HTMLElement>('.quote, .more, .reactions button, .sending button') ?? []) button.tabIndex = index
  }

  #say(err: unknown): void {
    this.#fault.hidden = err === null
    this.#fault.textContent = err instanceof Error ? err.message : String(err ?? '')
  }
}

function warn(id: string, on: boolean, text: string): void {
  the(id).hidden = !on
  const said = on ? text : ''
  if (the(id).textContent !== said) the(id).textContent = said // what is new is read out
}

function listOf(users: string[]): string {
  return users.length > 3 ? `${users.slice(0, 3).join(', ')} and ${users.length - 3} more` : users.join(', ')
}
