import type { ClientEvent, Position } from './events.ts'
import { Notifier } from './notifier.ts'

/** An event in the queue. A link of the chain has a position above 0; its event is null when the app is not to see it. */
export interface Waiting {
  event: ClientEvent | null
  pos: Position
  /** A message or copy: worth a durable cursor and a mark. */
  durable: boolean
}

/** What a link of the chain is to a client that stands at a position (law 6). */
export function judgeLink(mine: Position, pos: Position, gap: bigint): 'take' | 'repeat' | 'gap' {
  if (pos <= mine) return 'repeat'
  return gap > pos || pos - gap > mine ? 'gap' : 'take'
}

/** The user's chain as this client knows it, and what waits for the app. */
export class Inbox {
  /** mine is a position of the server's word or ours. */
  known = false
  /** Everything up to here has been received. */
  mine: Position = 0n
  /** Everything up to here has been handled by the app. */
  handled: Position = 0n
  /** Everything up to here is durably known as handled. */
  kept: Position = 0n
  /** What receive returned last. */
  given: Waiting | null = null
  /** The queue was full: what comes is not taken until it is empty. */
  behind = false
  /** The queue has grown. */
  readonly ready = new Notifier()
  readonly sendOnly: boolean
  readonly #keep: () => void
  #queue: Waiting[] = []
  readonly #limit: number

  /** At most limit events wait; sendOnly: none does. keep is called when what is handled is worth keeping. */
  constructor(limit: number, sendOnly: boolean, keep: () => void) {
    this.#limit = limit
    this.sendOnly = sendOnly
    this.#keep = keep
  }

  /** How many events wait. */
  get length(): number {
    return this.#queue.length
  }

  /** Goes on at a position that is kept. */
  restore(cursor: Position): void {
    this.known = true
    this.mine = this.handled = this.kept = cursor
  }

  /** Takes in where the server says that the chain goes on, and returns up to where there is nothing to mark. */
  welcome(resume: Position): Position {
    if (!this.known) {
      this.restore(resume)
      return resume
    }
    if (resume > this.mine) this.take({ event: null, pos: resume, durable: false })
    return 0n
  }

  /**
   * Where the next session's chain begins: what is kept, though more may have been received; what comes again is passed
   * over. A client that keeps nothing goes by what it has received.
   */
  get resumeAt(): Position {
    return this.sendOnly ? this.mine : this.kept
  }

  /** Puts a link of the chain into the queue. Without room, now or before, the link counts as not received. */
  take(w: Waiting): void {
    if (this.sendOnly) {
      this.mine = w.pos
      return
    }
    if (this.behind || this.#queue.length >= this.#limit) {
      this.behind = true
      return
    }
    this.mine = w.pos
    this.#append(w)
  }

  /** Puts an event that is no link into the queue, or drops it if that is full. */
  tell(event: ClientEvent): void {
    if (!this.sendOnly && this.#queue.length < this.#limit) this.#append({ event, pos: 0n, durable: false })
  }

  #append(w: Waiting): void {
    this.#queue.push(w)
    this.ready.fire()
  }

  /** Takes the next event for the app out of the queue. Links without one are handled by themselves. */
  next(): Waiting | null {
    for (;;) {
      const w = this.#queue.shift()
      if (!w || w.event) return w ?? null
      this.done(w)
    }
  }

  /** A link is handled. The server counts also those that the app does not see, until they are marked. */
  done(w: Waiting): void {
    if (w.pos > this.handled) this.handled = w.pos
    if (w.durable) this.#keep()
  }

  /** Forgets the position, as the server does not have it, and those of what waits. */
  forget(): void {
    this.known = false
    for (const w of this.#queue) w.pos = 0n
    if (this.given) this.given.pos = 0n
  }
}
