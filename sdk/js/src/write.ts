import { ChatError } from './errors.ts'
import { isGroup } from './options.ts'
import { encodePacket } from './packets.ts'
import type { PacketFields, PacketName } from './schema.ts'
import type { Session } from './session.ts'

/** Of a WebSocket message with several packets. */
const batchBytes = 32 << 10

/** What may wait in the socket; over it nothing more is written for a while, as sockets do not tell when they have room. */
const bufferedBytesMax = 1 << 20
const bufferedWaitMs = 20

/** The least time between two marks, unless a good part of the server's window is used up. */
const markEveryMs = 50

/** Writes what there is to write, joined, as the server's limits allow. */
export class Writer {
  readonly #session: Session
  #scheduled = false
  #stopped = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #pingedAt = 0
  #markedAt = Number.NEGATIVE_INFINITY
  #markLinks = 0 // links when the last mark was written
  #parts: Uint8Array[] = []
  #size = 0
  #waitMs = 0

  constructor(session: Session) {
    this.#session = session
  }

  /** There may be something to write: at the end of this turn of the event loop it goes, in one message. */
  wake(): void {
    if (this.#scheduled || this.#stopped) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#writeAll()
    })
  }

  /** Writes nothing more. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #writeAll(): void {
    const s = this.#session
    clearTimeout(this.#timer)
    while (!this.#stopped) {
      if (s.buffered > bufferedBytesMax) {
        this.#waitMs = bufferedWaitMs
        break
      }
      this.#gather()
      if (this.#size > 0) {
        s.write(joined(this.#parts, this.#size))
        continue
      }
      if (s.core.closing) {
        this.stop()
        s.close()
        return
      }
      break
    }
    if (!this.#stopped) this.#timer = setTimeout(() => this.#writeAll(), Math.max(1, Math.ceil(this.#waitMs)))
  }

  /** Collects packets for one message: what is small and quick first, then sends. */
  #gather(): void {
    const s = this.#session
    const { core } = s
    const now = performance.now()
    this.#parts = []
    this.#size = 0
    this.#waitMs = s.heartbeatMs
    this.#ping(now)
    if (s.calmUntil > now) this.#within(s.calmUntil - now)
    for (const packet of core.soon) this.#add(packet)
    core.soon = []
    core.soonBytes = 0
    this.#mark(now)
    this.#requests()
    if (now >= s.calmUntil) {
      this.#reads()
      this.#watches()
    }
    if (!core.closing && !s.leaving) this.#sends(now)
  }

  #within(ms: number): void {
    this.#waitMs = Math.min(this.#waitMs, ms)
  }

  #add(packet: Uint8Array): void {
    this.#parts.push(packet)
    this.#size += packet.length
    this.#session.pace.take(packet.length, performance.now())
  }

  #put<N extends PacketName>(name: N, fields: Partial<PacketFields<N>>): void {
    this.#add(encodePacket(name, fields))
  }

  /** Asks for a sign of life when nothing was heard for a heartbeat. */
  #ping(now: number): void {
    const s = this.#session
    const wait = Math.max(s.heardAt, this.#pingedAt) + s.heartbeatMs - now
    if (wait > 0) return this.#within(wait)
    this.#pingedAt = now
    this.#put('ping', { data: BigInt(Math.floor(now)) })
  }

  #mark(now: number): void {
    const s = this.#session
    const { inbox, closing } = s.core
    const pos = inbox.kept < s.reach ? inbox.kept : s.reach // the server takes no mark above what it has sent
    if (pos <= s.marked || inbox.sendOnly) return
    const urgent = closing || (s.window > 0 && s.links - this.#markLinks >= s.window / 4)
    const wait = this.#markedAt + markEveryMs - now
    if (!urgent && wait > 0) return this.#within(wait)
    s.marked = pos
    this.#markedAt = now
    this.#markLinks = s.links
    this.#put('mark', { pos })
  }

  #requests(): void {
    const s = this.#session
    let waiting = s.watching.size
    for (const request of s.core.requests.values()) if (request.asked) waiting++
    for (const [req, request] of s.core.requests) {
      if (waiting >= s.requests) break
      if (request.limit && !s.limits[request.limit]) {
        s.core.answer(req, null, new ChatError('unknown_type', `this server does not serve ${request.limit}`))
      } else if (!request.asked) {
        request.asked = true
        waiting++
        this.#add(request.encode(req))
      }
    }
  }

  #reads(): void {
    const s = this.#session
    for (const peer of s.unsentReads) {
      const pos = s.core.reads.get(peer) ?? 0n
      if (pos > s.reach && !isGroup(peer)) continue // nor a read mark, but where a group has an order of its own
      s.unsentReads.delete(peer)
      this.#put('read', { peer, pos })
    }
  }

  /** One user a packet, as one that is refused takes those after it along. A user's presence is the answer. */
  #watches(): void {
    const s = this.#session
    for (const user of s.unwatched) {
      if (s.watching.size >= s.requests) break
      s.unwatched.delete(user)
      if (!s.core.watched.has(user)) continue // unwatched since
      const req = ++s.core.lastReq
      s.watching.set(req, { user, news: false })
      this.#put('watch', { req, users: [user] })
    }
  }

  #sends(now: number): void {
    const s = this.#session
    const { outbox, recorder } = s.core
    const batch = Math.min(Number(s.limits['message'] ?? batchBytes), batchBytes)
    while (outbox.inflight < s.inflight) {
      const wait = s.pace.waitMs(now)
      if (wait > 0) return this.#within(wait)
      const room = this.#size > 0 ? batch - this.#size : Number.POSITIVE_INFINITY // one that is over the batch goes alone
      const item = outbox.take(recorder.synced, now, room)
      if (!item) break
      this.#put('send', { ...item.fields, n: BigInt(item.n) })
    }
    if (outbox.notBefore > now) this.#within(outbox.notBefore - now)
  }
}

function joined(parts: Uint8Array[], size: number): Uint8Array {
  if (parts.length === 1) return parts[0]!
  const whole = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
