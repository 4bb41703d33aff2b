import { Core, type Request, sleep } from './core.ts'
import { ChatError, ClosedError, isRetry } from './errors.ts'
import type { ChatsPage, ClientEvent, HistoryPage, Position } from './events.ts'
import { encodeChange, type GroupPage, groupOf, suiteGroup, type Verb } from './group.ts'
import { bytesOfId, type MessageId } from './id.ts'
import { MemoryJournal } from './journal.ts'
import { checkPeer, checkUser, type ClientOptions, isGroup, settingsOf } from './options.ts'
import type { Item } from './outbox.ts'
import { refusalWaitMs } from './pace.ts'
import { encodePacket } from './packets.ts'
import type { PacketFields, PacketName } from './schema.ts'
import type { Sent } from './sent.ts'
import { behind } from './session.ts'

/** Peers with a read mark to say again in the next session; beyond, some are forgotten. */
const maxReads = 1024
/** Questions that wait at once. */
const maxRequests = 1024
/** How many users one packet unwatches. */
const unwatchUsers = 64
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
export class PlainClient implements AsyncIterable<ClientEvent> {
  /** @internal */
  readonly core: Core
  readonly #running: Promise<void>
  /** @internal */
  readonly first: Promise<Error | null>
  #sending: Promise<unknown> = Promise.resolve()

  /** @internal */
  constructor(core: Core) {
    this.core = core
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
    if (w.durable) void core.keepSoon()
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

  /** Asks for presence events of users, now and on change, in this session and later ones. What the server refuses becomes a problem. */
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
    for (const user of users) {
      core.watched.delete(user)
      core.session?.unwatched.delete(user)
    }
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

  /** Ends it: before the user logs out, lest the device's next user be told of this one's messages. */
  forgetPush(signal?: AbortSignal): Promise<void> {
    return this.registerPush('', '', signal)
  }

  /**
   * Makes a group with the user as its admin and others as members, and returns its name, which stands wherever a user's does.
   * info is its name and picture: the server does not read it, so encrypt it. Whether the group was made tells what is
   * returned, as with {@link PlainClient.send}. An id makes the name too: {@link groupOf}.
   */
  async createGroup(
    info: Uint8Array | null,
    users: string[],
    options: Pick<SendOptions, 'id'> = {},
    signal?: AbortSignal,
  ): Promise<{ group: string; sent: Sent }> {
    const id = idOf(options) ?? (await this.newId(signal))
    const group = groupOf(id)
    return { group, sent: await this.#change(group, 'create', users, info, id, signal) }
  }

  /**
   * Changes a group: its members or admins. The change is a message to the group, which all members get. Whether the group
   * took it is judged at its place: where it did not, a problem event says why, as does {@link Sent.error}: `not_member`,
   * `not_admin`, `group_full` or `bad_change`.
   */
  async changeGroup(
    group: string,
    verb: Exclude<Verb, 'create' | 'info'>,
    users: string[] = [],
    options: Pick<SendOptions, 'id'> = {},
    signal?: AbortSignal,
  ): Promise<Sent> {
    return this.#change(group, verb, users, null, idOf(options), signal)
  }

  /** Replaces a group's name and picture; null takes them away. */
  async setGroupInfo(group: string, info: Uint8Array | null, options: Pick<SendOptions, 'id'> = {}, signal?: AbortSignal): Promise<Sent> {
    return this.#change(group, 'info', [], info, idOf(options), signal)
  }

  async #change(group: string, verb: Verb, users: string[], info: Uint8Array | null, id: MessageId | null, signal?: AbortSignal): Promise<Sent> {
    if (!isGroup(group)) throw new ChatError('bad_name', `${JSON.stringify(group)} is not the name of a group`)
    const content = encodeChange({ verb, users, info: info ?? new Uint8Array() })
    return this.sendSealed({ n: 0n, id, to: group, suite: suiteGroup, content, flags: 0, ttl: 0, media: '' }, null, signal)
  }

  /**
   * Returns a group and up to limit of its members with names beyond one; '' is before all, and 0 as many as the server gives
   * at once. Only members get an answer; else {@link ChatError} `forbidden`.
   */
  async group(group: string, beyond = '', limit = 0, signal?: AbortSignal): Promise<GroupPage> {
    if (!isGroup(group)) throw new ChatError('bad_name', `${JSON.stringify(group)} is not the name of a group`)
    return this.ask<GroupPage, 'group_get'>('group_get', { group, beyond, limit }, 'group_members', signal)
  }

  /**
   * Blocks users: from its place on nothing that they send to this user comes, and they learn nothing of it; their messages stay at
   * one tick, and they see neither presence nor receipts. Groups are another matter. It is a message to oneself, and what is
   * returned tells of it as with {@link PlainClient.send}: it waits in the outbox, and all devices of the user get `blocks`. One that
   * the server does not make becomes a problem: `too_many` over its limit. Throws {@link ChatError} `bad_name` for what is no user's
   * name.
   */
  async block(users: string[], signal?: AbortSignal): Promise<Sent> {
    return this.#changeBlocks('add', users, signal)
  }

  /** Takes {@link PlainClient.block} back. What they sent meanwhile does not come. */
  async unblock(users: string[], signal?: AbortSignal): Promise<Sent> {
    return this.#changeBlocks('remove', users, signal)
  }

  async #changeBlocks(verb: 'add' | 'remove', users: string[], signal?: AbortSignal): Promise<Sent> {
    const content = encodeChange({ verb, users, info: new Uint8Array() })
    const { user } = this.core.settings
    return this.sendSealed({ n: 0n, id: null, to: user, suite: suiteGroup, content, flags: 0, ttl: 0, media: '' }, null, signal)
  }

  /** Returns whom the user has blocked, in order of their names. Throws {@link ChatError} `bad_name` for a server where nobody blocks. */
  async blocked(signal?: AbortSignal): Promise<string[]> {
    const users: string[] = []
    for (;;) {
      const question = { group: this.core.settings.user, beyond: users.at(-1) ?? '', limit: 0 }
      const page = await this.ask<GroupPage, 'group_get'>('group_get', question, 'group_members', signal)
      users.push(...page.members.map((member) => member.user))
      if (!page.more || page.members.length === 0) return users
    }
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

/** The id that was asked for, checked; null: none was. @internal */
export function idOf(options: SendOptions): MessageId | null {
  if (options.id !== undefined) bytesOfId(options.id)
  return options.id ?? null
}
