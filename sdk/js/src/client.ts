import { Core } from './core.ts'
import { ChatError, ClosedError } from './errors.ts'
import type { ChatsPage, ClientEvent, HistoryPage, Position } from './events.ts'
import { GroupClient } from './groups.ts'
import { bytesOfId, type MessageId } from './id.ts'
import { MemoryJournal } from './journal.ts'
import { checkPeer, checkUser, type ClientOptions, settingsOf } from './options.ts'
import { idOf, type SendOptions } from './outgoing.ts'
import type { PacketFields } from './schema.ts'
import type { Sent } from './sent.ts'
import { behind } from './session.ts'

/** Peers with a read mark to say again in the next session; beyond, some are forgotten. */
const maxReads = 1024
/** How many users one packet unwatches. */
const unwatchUsers = 64

/** A device of the user. */
export interface Device {
  /** Its name. */
  device: string
  /** What the user calls it. */
  label: string
  /** When it first connected, in ms since 1970. */
  created: number
  /** When it was revoked, in ms since 1970; 0: it was not. */
  revoked: number
}

/**
 * One device of one user: a connection that comes back by itself, an outbox that loses nothing, and the user's messages in
 * order, each given to the app once.
 *
 * A message that {@link PlainClient.send} has taken is in the journal before its first byte leaves, and stays there until the
 * server has it durably; what may have arrived is sent again byte for byte, so that it arrives once. Messages to the user
 * come from {@link PlainClient.receive}. Asking for the next one says that the one before has been handled: then the cursor is
 * made durable, and only then does the sender see "delivered". An app that ends in between gets the message once more.
 *
 * Errors are {@link ChatError}, whose code says what to do about them, {@link ClosedError}, {@link StateError} of the
 * journal, and the reasons of signals.
 */
export class PlainClient extends GroupClient implements AsyncIterable<ClientEvent> {
  readonly #running: Promise<void>
  /** @internal */
  readonly first: Promise<Error | null>

  /** @internal */
  constructor(core: Core) {
    super(core)
    let first!: (error: Error | null) => void
    this.first = new Promise((resolve) => (first = resolve))
    this.#running = core.run(first)
  }

  /**
   * Makes a client and returns at once when the journal is open; it connects by itself, and {@link PlainClient.connected} waits
   * for that. Throws {@link ChatError} `bad_name` for options that cannot be, {@link StateError} of the journal. Close the
   * client when done with it.
   */
  static async open(options: ClientOptions): Promise<PlainClient> {
    return new PlainClient(await Core.open(settingsOf(options), options.journal ?? new MemoryJournal()))
  }

  /** Is {@link PlainClient.open}, and waits for the first session. When the first attempt fails, the client is closed and the error thrown. */
  static async connect(options: ClientOptions): Promise<PlainClient> {
    const client = await PlainClient.open(options)
    const error = await client.first
    if (!error) return client
    await client.close()
    throw error
  }

  /** Returns when there is a session. Throws why none will follow. */
  async connected(signal?: AbortSignal): Promise<void> {
    const core = this.core
    while (!core.session) {
      if (core.end) throw core.end
      await core.changed.wait(signal)
    }
  }

  /** How far the app has handled the user's chain. */
  get position(): Position {
    return this.core.inbox.handled
  }

  /** The time by the server's clock, ms since 1970, as far as it is known. */
  get now(): number {
    return this.core.now
  }

  /** The longest time to live that the server takes, s, as its newest welcome said; 0: there was none yet. */
  get maxTtlSeconds(): number {
    return this.core.maxTtlSeconds
  }

  /** Why no session will follow: {@link ClosedError}, or an error that coming back does not mend; null as long as one may. */
  get error(): Error | null {
    return this.core.end
  }

  /** The messages that are not accepted yet, in order: also those of an earlier run, which the journal kept. */
  get outbox(): Sent[] {
    return this.core.outbox.items.filter((item) => !item.settled).map((item) => item.sent)
  }

  /**
   * Puts a message for a user into the outbox and returns when the journal holds it: from then on it arrives, once, and
   * after those sent before it, also if this page or process ends now. What is returned tells how far it has come. It
   * waits while the outbox is full and, on a device that never was connected, for the first session, from which its ids
   * come. A signal that is aborted meanwhile means that nothing was sent.
   */
  async send(to: string, content: Uint8Array | string, options: SendOptions = {}, signal?: AbortSignal): Promise<Sent> {
    checkPeer(to)
    const { suite = 0, media = '' } = options
    const id = idOf(options)
    const ttl = this.ttlOf(options)
    if (!Number.isInteger(suite) || suite < 0 || suite > 255) throw new ChatError('bad_packet', `a suite is 0 to 255, not ${suite}`)
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content.slice()
    return this.sendSealed({ n: 0n, id, to, suite, content: bytes, flags: 0, ttl, media }, null, signal)
  }

  /**
   * Returns the next event: messages of the user's chain in order, each once, and between them what happens else. Calling
   * it again says that the event before has been handled. Throws the signal's reason, and, after the last event, why no
   * session will follow. One caller at a time.
   */
  async receive(signal?: AbortSignal): Promise<ClientEvent> {
    this.handled()
    const { inbox } = this.core
    for (;;) {
      const w = inbox.next()
      if (w) {
        inbox.given = w
        this.#catchUp()
        return w.event!
      }
      this.#catchUp()
      if (this.core.end) throw this.core.end
      await inbox.ready.wait(signal)
    }
  }

  /** Asks for what the queue had no room for, once it is empty. */
  #catchUp(): void {
    const { inbox, session } = this.core
    if (inbox.behind && inbox.length === 0) session?.quit(behind)
  }

  /** Says that the event which receive returned last has been handled, without asking for another. */
  handled(): void {
    const core = this.core
    const w = core.inbox.given
    if (!w) return
    core.inbox.given = null
    core.inbox.done(w)
  }

  /**
   * The events of {@link PlainClient.receive}, to its end: after {@link PlainClient.close} the loop ends, another end throws. Breaking
   * out of the loop leaves the last event unhandled, unless {@link PlainClient.handled} is called.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<ClientEvent, void> {
    for (;;) {
      let event: ClientEvent
      try {
        event = await this.receive()
      } catch (err) {
        if (err instanceof ClosedError) return
        throw err
      }
      yield event
    }
  }

  /**
   * Says that the user has been shown the chat with peer up to a position: the `place` of a message. It goes out when there
   * is a session, and again in each later one, for nothing says that it has arrived.
   */
  markRead(peer: string, position: Position): void {
    checkPeer(peer)
    const { reads, session } = this.core
    if (position <= (reads.get(peer) ?? 0n)) return
    reads.delete(peer)
    reads.set(peer, position)
    if (reads.size > maxReads) reads.delete(reads.keys().next().value!)
    session?.unsentReads.add(peer)
    session?.wake()
  }

  /** Tells peer that the user types, or stopped. It may be lost. */
  typing(peer: string, on: boolean): void {
    checkUser(peer)
    this.core.say('typing', { peer, on })
  }

  /**
   * Asks for presence events of users, now and on change, in this session and later ones. What the server refuses becomes a
   * problem. Presence is for those who have a chat: who has none yet is asked for again with the next message or receipt of theirs.
   */
  watch(...users: string[]): void {
    users.forEach(checkUser)
    const { watched, session } = this.core
    for (const user of users) {
      watched.add(user)
      session?.unwatched.add(user)
    }
    session?.wake()
  }

  /** Ends it. */
  unwatch(...users: string[]): void {
    users.forEach(checkUser)
    const core = this.core
    for (const user of users) core.watched.delete(user)
    for (let i = 0; i < users.length; i += unwatchUsers) core.say('unwatch', { users: users.slice(i, i + unwatchUsers) })
  }

  /**
   * Returns up to limit messages with peer older than before, newest first; null is no bound, and 0 as many as the server
   * gives. The server may return fewer, and says whether there are more.
   */
  async history(peer: string, before: MessageId | null = null, limit = 0, signal?: AbortSignal): Promise<HistoryPage> {
    checkPeer(peer)
    if (before !== null) bytesOfId(before)
    return this.ask<HistoryPage, 'history'>('history', { peer, before, limit }, '', signal)
  }

  /**
   * Returns up to limit of the user's chats whose newest message is older than before, newest first; null is no bound, and
   * 0 as many as the server gives.
   */
  async chats(before: MessageId | null = null, limit = 0, signal?: AbortSignal): Promise<ChatsPage> {
    if (before !== null) bytesOfId(before)
    return this.ask<ChatsPage, 'chats'>('chats', { before, limit }, '', signal)
  }

  /**
   * Says where this device is told that something waits when it is not connected: a provider that the server has (`fcm`,
   * `apns` or `webhook`), and the provider's token for the device. Returns when the server has made that durable. Call it
   * after each start of the app, and when the token changes. Throws {@link ChatError} `bad_push` for a provider that the
   * server has not, or no token of it, and `unknown_type` for a server that pushes nothing.
   */
  async registerPush(provider: string, token: string, signal?: AbortSignal): Promise<void> {
    await this.ask<null, 'push'>('push', { provider, token }, 'push', signal)
  }

  /** Ends it: before the user logs out, lest the device's next user be told of this one's messages. */
  forgetPush(signal?: AbortSignal): Promise<void> {
    return this.registerPush('', '', signal)
  }

  /** Returns the user's devices, in order of their names, those that were revoked among them. */
  async devices(signal?: AbortSignal): Promise<Device[]> {
    const answer = await this.ask<PacketFields<'devices'>, 'devices_get'>('devices_get', {}, 'devices', signal)
    return answer.devices.map((d) => ({ ...d, created: Number(d.created), revoked: Number(d.revoked) }))
  }

  /**
   * Gives a device of the user the name that the user calls it by, at most 64 bytes, which the server can read; empty takes it away.
   * Throws {@link ChatError} `not_found` or `bad_name`.
   */
  async labelDevice(device: string, label: string, signal?: AbortSignal): Promise<void> {
    await this.ask<null, 'device_label'>('device_label', { device, label }, 'devices', signal)
  }

  /**
   * Takes a device of the user away for ever: its session ends with `revoked`, and it and its keys are refused from then on. Throws
   * {@link ChatError} `not_found`, or `unknown_type` for a server that cannot.
   */
  async revokeDevice(device: string, signal?: AbortSignal): Promise<void> {
    await this.ask<null, 'device_revoke'>('device_revoke', { device }, 'devices', signal)
  }

  /**
   * Ends the client. It writes what is ready, read marks and the marks of handled messages among it, but does not wait for
   * the outbox: what is there goes out when the journal is opened again, so wait for {@link Sent.durable} first where it is
   * in memory. When the signal is aborted the connection is cut. What receive returned last counts as not handled, unless
   * {@link PlainClient.handled} was called. Throws {@link StateError} of the journal.
   */
  async close(signal?: AbortSignal): Promise<void> {
    await this.closePlain(signal)
  }

  /** @internal */
  async closePlain(signal?: AbortSignal): Promise<void> {
    const core = this.core
    if (core.closing) {
      await this.#running
      return
    }
    core.closing = true
    core.changed.fire()
    const cut = () => core.over.abort(new ClosedError())
    try {
      await core.keep()
    } finally {
      if (!core.session || signal?.aborted) cut()
      signal?.addEventListener('abort', cut, { once: true })
      core.session?.wake()
      await this.#running
      signal?.removeEventListener('abort', cut)
      await core.recorder.close()
    }
  }
}
