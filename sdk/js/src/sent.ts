import type { Position } from './events.ts'
import type { MessageId } from './id.ts'
import { Notifier } from './notifier.ts'

/** How far a message has come: in the outbox, durable at the server, on a device of the receiver, shown there. */
export type Status = 'pending' | 'sent' | 'delivered' | 'read'

const order: Status[] = ['pending', 'sent', 'delivered', 'read']

/** How far another user has come with what this one sent. */
export class Peer {
  delivered: Position = 0n
  read: Position = 0n
  /** Something here changed, or a message to this user did. */
  readonly moved = new Notifier()

  /** Takes in a receipt, and reports whether it said anything new. */
  advance(delivered: Position, read: Position): boolean {
    if (delivered <= this.delivered && read <= this.read) return false
    if (delivered > this.delivered) this.delivered = delivered
    if (read > this.read) this.read = read
    this.moved.fire()
    return true
  }
}

/** A message on its way. */
export class Sent {
  /** The message's id. */
  readonly id: MessageId
  /** The receiver. */
  readonly to: string
  readonly #peer: Peer
  readonly #end: () => Error | null
  #place: Position = 0n
  #error: Error | null = null

  /** @internal */
  constructor(id: MessageId, to: string, peer: Peer, end: () => Error | null) {
    this.id = id
    this.to = to
    this.#peer = peer
    this.#end = end
  }

  /** Its position in the receiver's chain, which is what receipts compare with; 0 until it is durable. */
  get place(): Position {
    return this.#place
  }

  /** Why it will come no further; null: nothing is in its way. */
  get error(): Error | null {
    return this.#error
  }

  /** How far it has come. */
  get status(): Status {
    if (this.#place === 0n) return 'pending'
    if (this.#place <= this.#peer.read) return 'read'
    return this.#place <= this.#peer.delivered ? 'delivered' : 'sent'
  }

  /** Returns when the server has it durably: it will not be lost. Errors are those of {@link Sent.reached}. */
  durable(signal?: AbortSignal): Promise<void> {
    return this.reached('sent', signal)
  }

  /** Returns when a device of the receiver has it. Errors are those of {@link Sent.reached}. */
  delivered(signal?: AbortSignal): Promise<void> {
    return this.reached('delivered', signal)
  }

  /** Returns when it has been shown to the receiver. Errors are those of {@link Sent.reached}. */
  read(signal?: AbortSignal): Promise<void> {
    return this.reached('read', signal)
  }

  /**
   * Returns when the message has come as far as status. Throws the server's refusal, the end of the client, or the
   * signal's reason, which says nothing of the message: it stays in the outbox and goes on its way.
   */
  async reached(status: Status, signal?: AbortSignal): Promise<void> {
    for (;;) {
      if (this.#error) throw this.#error
      if (order.indexOf(this.status) >= order.indexOf(status)) return
      const end = this.#end()
      if (end) throw end
      await this.#peer.moved.wait(signal)
    }
  }

  /** Says where the message lies, or why it lies nowhere. @internal */
  settle(place: Position, error: Error | null = null): void {
    if (this.#error) return
    if (error) this.#error = error
    else this.#place = place
    this.#peer.moved.fire()
  }
}
