import type { Position } from './events.ts'
import type { PacketFields } from './schema.ts'
import { retryFlag } from './packets.ts'
import type { Sent } from './sent.ts'

/** One message of the outbox. */
export interface Item {
  /** What the app holds of it. */
  readonly sent: Sent
  /** The packet, without a number; its flags say whether it may have arrived before. */
  readonly fields: PacketFields<'send'>
  /** The sequence of its change in the journal: it leaves only once that is durable. */
  readonly sequence: number
  /** About the bytes of the packet. */
  readonly bytes: number
  /** Its number in this session, 0: none. */
  n: number
  /** Its outcome is known. */
  settled: boolean
  /** What the owner of its receiver said of it before it was accepted. */
  outcome: { place: Position; error: Error | null } | null
}

/** What is not accepted yet, in the order of sending; it numbers that for the session (law 8). It does no I/O. */
export class Outbox {
  /** items[0…sent) have numbers in this session, rising. */
  items: Item[] = []
  /** How many of the items have numbers. */
  sent = 0
  /** Bytes of the items, about. */
  bytes = 0
  /** A refusal asked to wait until then. */
  notBefore = 0
  /** Retryable refusals since the last acceptance. */
  refusals = 0
  #next = 1
  #done = 0 // of items[0…sent): settled, but with unsettled ones before them

  /** Adds a message. */
  push(item: Item): void {
    this.items.push(item)
    this.bytes += item.bytes
  }

  /** Starts a session: nothing is numbered in it. */
  begin(): void {
    this.#next = 1
    this.notBefore = 0
    this.refusals = 0
  }

  /** Ends a session: what was on its way may have arrived, so it is a retry from now on, byte for byte. */
  end(): void {
    for (const item of this.items.slice(0, this.sent)) {
      if (item.settled) continue
      item.n = 0
      item.outcome = null // it is judged again
      item.fields.flags |= retryFlag
    }
    this.items = this.items.filter((item) => !item.settled)
    this.sent = 0
    this.#done = 0
  }

  /** How many sends are without an answer. */
  get inflight(): number {
    return this.sent - this.#done
  }

  /** Returns the next item to write, numbered, or null when there is none that may go. synced is how far the journal is durable. */
  take(synced: number, now: number, roomBytes: number): Item | null {
    const item = this.items[this.sent]
    if (!item || now < this.notBefore || item.sequence > synced || item.bytes > roomBytes) return null
    item.n = this.#next++
    this.sent++
    return item
  }

  /**
   * Settles the sends n-count+1 to n and calls settled with each and its place. Returns false when the numbers were not
   * those of sends on their way.
   */
  accepted(n: bigint, count: bigint, pos: bigint, settled: (item: Item, place: bigint) => void): boolean {
    if (n >= BigInt(this.#next) || count === 0n || count > n) return false
    const last = Number(n)
    const first = Number(n - count + 1n)
    for (const item of this.items.slice(0, this.sent)) {
      if (item.n > last) break
      if (item.n < first || item.settled) continue
      this.#settle(item)
      settled(item, pos - BigInt(last - item.n))
    }
    this.refusals = 0
    this.#trim()
    return true
  }

  /**
   * Takes back the numbers from n on. The item n itself is returned; with drop it leaves the outbox, and the next one gets
   * its number. The others were refused with it, for certain, so they become no retries by this. null: n is not the number
   * of a send on its way, which a repeated refusal is.
   */
  refused(n: bigint, drop: boolean): Item | null {
    const i = this.items.slice(0, this.sent).findIndex((item) => BigInt(item.n) === n && !item.settled)
    if (i < 0) return null
    const refused = this.items[i]!
    const later = this.items.slice(i, this.sent)
    for (const item of later) {
      item.n = 0
      if (item.settled) this.#done-- // by a server that takes newer ones all the same
    }
    this.items = this.items.filter((item) => !item.settled || item.n !== 0)
    this.sent = i
    this.#next = Number(n)
    if (drop) {
      refused.settled = true
      this.bytes -= refused.bytes
      this.items.splice(i, 1)
    }
    return refused
  }

  #settle(item: Item): void {
    item.settled = true
    this.#done++
    this.bytes -= item.bytes
  }

  #trim(): void {
    let n = 0
    while (n < this.sent && this.items[n]!.settled) n++
    this.items.splice(0, n)
    this.sent -= n
    this.#done -= n
  }
}
