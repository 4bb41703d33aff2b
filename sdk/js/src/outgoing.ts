import { type Core, type Request, sleep } from './core.ts'
import { ChatError, ClosedError, isRetry } from './errors.ts'
import { bytesOfId, type MessageId } from './id.ts'
import type { Item } from './outbox.ts'
import { refusalWaitMs } from './pace.ts'
import { encodePacket } from './packets.ts'
import type { PacketFields, PacketName } from './schema.ts'
import type { Sent } from './sent.ts'

/** Questions that wait at once. */
const maxRequests = 1024
/** What a message is in the outbox beside its own bytes, about. */
const envelopeBytes = 48

/** What a message may have beside its content. */
export interface SendOptions {
  /** How the content is encrypted, 0 to 255. Default: 0, not at all. */
  suite?: number
  /** Seconds to live; 0 is for ever. Default: 0. */
  ttlSeconds?: number
  /** A URL beside the content. Default: none. */
  media?: string
  /**
   * The message's id, one of {@link PlainClient.newId}: who keeps it may send the message again after an end of this page or
   * process, and it arrives once. Other bytes under the same id, which encryption makes each time, are refused with
   * `id_conflict` when the first have arrived. Default: one is made.
   */
  id?: MessageId
}

/** What leaves a client: messages by its outbox, and questions. {@link PlainClient} is all of it. */
export abstract class Outgoing {
  /** @internal */
  readonly core: Core
  #sending: Promise<unknown> = Promise.resolve()

  /** @internal */
  constructor(core: Core) {
    this.core = core
  }

  /**
   * Makes an id for {@link SendOptions.id}. On a device that never was connected it waits for the first session, from which its
   * ids come. Throws why no session will follow, or the signal's reason.
   */
  async newId(signal?: AbortSignal): Promise<MessageId> {
    const { core } = this
    for (;;) {
      if (core.end) throw core.end
      if (core.clock) return core.clock.next(core.now)
      await core.changed.wait(signal)
    }
  }

  /** Seconds to live, checked. @internal */
  ttlOf(options: SendOptions): number {
    const ttl = Math.ceil(options.ttlSeconds ?? 0)
    if (!(ttl >= 0 && ttl < 2 ** 32)) throw new ChatError('bad_ttl', `a time to live of ${ttl} s is not between 0 and ${2 ** 32 - 1}`)
    return ttl
  }

  /** Is send, of fields; seal makes the content when the message's id is known. @internal */
  async sendSealed(fields: PacketFields<'send'>, seal: ((id: MessageId) => Uint8Array) | null, signal?: AbortSignal): Promise<Sent> {
    const turn = this.#sending.then(async () => {
      signal?.throwIfAborted()
      return this.#enqueue(fields, seal, signal)
    })
    this.#sending = turn.catch(() => {})
    const item = await turn
    await this.core.recorder.sync(item.sequence)
    return item.sent
  }

  /** Waits for a clock and for room. */
  async #enqueue(fields: PacketFields<'send'>, seal: ((id: MessageId) => Uint8Array) | null, signal?: AbortSignal): Promise<Item> {
    const core = this.core
    const size = fields.content!.length
    for (;;) {
      if (core.end) throw core.end
      if (core.closing) throw new ClosedError()
      if (core.maxContentBytes > 0n && size > core.maxContentBytes) {
        throw new ChatError('too_large', `the content has ${size} bytes, the server takes ${core.maxContentBytes}: send it as media`)
      }
      if (core.clock && this.#hasRoom(size + fields.media.length + envelopeBytes)) return core.enqueue(fields, seal)
      await core.changed.wait(signal)
    }
  }

  #hasRoom(bytes: number): boolean {
    const { outbox, settings } = this.core
    const n = outbox.items.length
    return n === 0 || (n < settings.outboxMessages && outbox.bytes + bytes <= settings.outboxBytes)
  }

  /** Puts a question until it is answered; what asks for a retry is asked again. @internal */
  async ask<A, N extends PacketName>(name: N, fields: Partial<PacketFields<N>>, limit: string, signal?: AbortSignal): Promise<A> {
    const { settings } = this.core
    const encode = (req: bigint) => encodePacket(name, { ...fields, req })
    for (let tries = 0; ; tries++) {
      try {
        return (await this.#askOnce(encode, limit, signal)) as A
      } catch (err) {
        if (!isRetry(err) || err === this.core.end) throw err
        await sleep(refusalWaitMs(err.retryAfterMs, tries, settings.backoffMinMs, settings.backoffMaxMs), signal)
        signal?.throwIfAborted()
      }
    }
  }

  #askOnce(encode: (req: bigint) => Uint8Array, limit: string, signal?: AbortSignal): Promise<unknown> {
    const core = this.core
    return new Promise((resolve, reject) => {
      if (core.end) return reject(core.end)
      if (signal?.aborted) return reject(signal.reason)
      if (core.requests.size >= maxRequests) return reject(new ChatError('too_many', `${maxRequests} requests wait for an answer already`))
      const req = ++core.lastReq
      const abort = () => {
        core.requests.delete(req)
        reject(signal!.reason)
      }
      const answer: Request['answer'] = (result, error) => {
        signal?.removeEventListener('abort', abort)
        if (error) reject(error)
        else resolve(result)
      }
      signal?.addEventListener('abort', abort, { once: true })
      core.requests.set(req, { encode, limit, answer, asked: false })
      core.session?.wake()
    })
  }
}

/** The id that was asked for, checked; null: none was. @internal */
export function idOf(options: SendOptions): MessageId | null {
  if (options.id !== undefined) bytesOfId(options.id)
  return options.id ?? null
}
