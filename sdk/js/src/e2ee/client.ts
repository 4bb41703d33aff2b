import { PlainClient } from '../client.ts'
import { type Body, bodyOfType, counts, typeBody, typedOf } from '../content.ts'
import { Core } from '../core.ts'
import type { Chat, ChatsPage, ClientEvent, HistoryPage, Message } from '../events.ts'
import { ChatError } from '../errors.ts'
import { encodeChange, type GroupPage } from '../group.ts'
import { type MessageId, nodeOfId } from '../id.ts'
import { IndexedDBJournal } from '../indexeddb.ts'
import { MemoryJournal } from '../journal.ts'
import { checkPeer, type ClientOptions, isGroup, settingsOf } from '../options.ts'
import { idOf, type SendOptions } from '../outgoing.ts'
import { decodePackets, encodePacket } from '../packets.ts'
import type { Packet } from '../schema.ts'
import type { Sent } from '../sent.ts'
import { suiteGroup, suiteKeyShare, suiteMegolm } from '../suites.ts'
import type { Unread } from '../unread.ts'
import type {
  BadKeysEvent,
  FailedEvent,
  GroupInfo,
  GroupMember,
  GroupNamedEvent,
  IdentityChangedEvent,
  LeftOutEvent,
  LinkedHistoryEvent,
  LinkUsedEvent,
  TypedEvent,
  UnannouncedEvent,
} from './events.ts'
import { IndexedDBKeys, type KeyStorage } from './keys.ts'
import { call, errorOf, type Link, load, type Machine, type MachineEvent, valueOf, type WasmSource } from './machine.ts'
import type { SaidPage } from './said.ts'

/** A group's name and picture. */
const typeGroupInfo = 64

/** What encryption may be told. */
export interface EncryptedOptions extends ClientOptions {
  /** Keeps this device's keys. Default: `keyFile` where it is given, {@link IndexedDBKeys} where there is IndexedDB, else memory. */
  keys?: KeyStorage
  /** In Node: the file with this device's keys, made where it is missing; it is the Go SDK's. Guard it by a journal in a file. */
  keyFile?: string
  /** In Node: the file with the user's identity, for several devices of one machine. Default: with the device's keys. */
  identityFile?: string
  /** Seals both files. Default: they lie open, readable by this user of the machine alone. */
  passphrase?: string
  /** Publishes this device's identity in the place of another one that the user has, whose devices are gone then. Default: false. */
  resetIdentity?: boolean
  /** Goes on when a user's identity changes, after the event. Default: false. */
  acceptChanges?: boolean
  /** Lets messages through that are not encrypted, with suite 0. Default: false, and they fail. */
  allowPlain?: boolean
  /** A chat's session is replaced after so many messages. Default: 100. */
  rotateMessages?: number
  /** Or after so long a time. Default: 7 days. */
  rotateAfterMs?: number
  /** How old what is known of a chat's devices may be when a message is sent, where no notice came that some are gone. Default: 5 minutes. */
  refreshMs?: number
  /** How many messages may wait for their keys; of more, the oldest fail. Default: 1,000. */
  held?: number
  /** Where the compiled encryption is, or itself. Default: `e2ee.wasm` beside this module. */
  wasm?: WasmSource
}

/** What {@link Client.receive} returns. */
export type EncryptedEvent =
  | ClientEvent
  | IdentityChangedEvent
  | BadKeysEvent
  | FailedEvent
  | LinkUsedEvent
  | LinkedHistoryEvent
  | TypedEvent
  | GroupNamedEvent
  | UnannouncedEvent
  | LeftOutEvent

/** What a device that is linked is given beside the identity. */
export interface LinkOptions {
  /** What history is read by. Default: true. */
  history?: boolean
  /** Users and groups: what was said with them is left out. */
  without?: readonly string[]
}

/** What two users compare to be sure that the server gave each the other's identity: the same on both sides. */
export interface Safety {
  /** 60 digits in groups of five, to be compared by eye or ear. */
  digits: string
  /** What {@link qr} stands for: both sides have the same bytes. */
  scan: Uint8Array
  /** The text of a QR code to show; scanned from the other's screen it has to be the very same (then {@link Client.verify} notes it). */
  qr: string
  /** As {@link Client.verify} noted. */
  verified: boolean
}

/**
 * One device of one user with end-to-end encryption: {@link PlainClient} whose contents only the devices of both users can read.
 * Its journal is in IndexedDB where there is one, if none is given.
 */
export class Client extends PlainClient {
  #machine!: Machine
  #closed: Promise<void> | undefined
  #again: ClientEvent | null = null

  /** Makes a client, as {@link PlainClient.open}, with the keys of its device. Throws {@link EncryptionError} for keys that cannot be used. */
  static override async open(options: EncryptedOptions): Promise<Client> {
    const settings = settingsOf(options)
    const module = await load(options.wasm)
    const browser = typeof indexedDB !== 'undefined'
    // The journal comes first: its lock keeps other pages and processes from the keys.
    const core = await Core.open(settings, options.journal ?? (browser ? new IndexedDBJournal() : new MemoryJournal()))
    const { user, device } = options
    const keys = options.keys ?? (options.keyFile || !browser ? null : new IndexedDBKeys(user, device))
    let ready!: () => void
    const opened = new Promise<void>((resolve) => (ready = resolve))
    core.beforeMark = () => opened
    const client = new Client(core)
    try {
      const { keyFile, identityFile, ...rest } = options
      client.#machine = await call(module.open, user, device, client.#link(), keys, { ...rest, keys: keyFile, identity: identityFile })
    } catch (err) {
      ready()
      await client.closePlain()
      throw err
    }
    core.beforeMark = async () => void (await call(client.#machine.sync))
    ready()
    core.ownInGroups = true
    core.keysLow = () => valueOf(client.#machine.keysLow())
    valueOf(client.#machine.start())
    return client
  }

  /** Is {@link Client.open}, and waits for the first session. */
  static override async connect(options: EncryptedOptions): Promise<Client> {
    const client = await Client.open(options)
    const error = await client.first
    if (!error) return client
    await client.close()
    throw error
  }

  #link(): Link {
    return {
      ask: async (question) => {
        const [packet] = decodePackets(question)
        const { type, ...fields } = packet as Packet
        if (type === 'group_get') {
          const page = await this.ask<GroupPage, 'group_get'>('group_get', fields as never, 'group_members')
          return encodePacket('group_page', { ...page, req: 0n })
        }
        const answer = await this.ask<Packet | null, typeof type>(type, fields as never, 'one_time_keys')
        if (!answer) return new Uint8Array()
        const { type: name, ...rest } = answer
        return encodePacket(name, rest as never)
      },
      send: (to, content, ttl) => this.sendSealed({ n: 0n, id: null, to, suite: suiteKeyShare, content, flags: 0, ttl, media: '' }, null),
      session: () => this.core.session?.ended ?? null,
    }
  }

  /**
   * Encrypts a content for every device of the receiver and the user's others, and sends it as {@link PlainClient.send} does.
   * Before the first message of a session it waits until the server has the session's keys, which needs a connection; later
   * ones wait in the outbox without one. Throws {@link EncryptionError} `no_keys` or `changed`.
   */
  override async send(to: string, content: Uint8Array | string, options: SendOptions = {}, signal?: AbortSignal): Promise<Sent> {
    return this.sendTyped(to, typeBody, content, options, signal)
  }

  /** Is send for a type of content, 1 to 255. */
  async sendTyped(to: string, kind: number, content: Uint8Array | string, options: SendOptions = {}, signal?: AbortSignal): Promise<Sent> {
    checkPeer(to)
    if (options.suite) throw new ChatError('bad_packet', 'the suite is chosen by the encryption; what is not encrypted goes by PlainClient')
    if (!Number.isInteger(kind) || kind < 1 || kind > 255) throw new ChatError('bad_packet', `a type is 1 to 255, not ${kind}`)
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
    const ttl = this.ttlOf(options)
    const id = idOf(options)
    const { seal, done } = await call(this.#machine.ready, to, kind, bytes, signal ?? null)
    try {
      const fields = { n: 0n, id, to, suite: suiteMegolm, content: new Uint8Array(bytes.length), flags: 0, ttl, media: options.media ?? '' }
      return await this.sendSealed(fields, (id) => valueOf(seal(id)), signal)
    } finally {
      valueOf(done())
    }
  }

  /**
   * Sends a body, encrypted: a reply, an edit, a deletion, a reaction, a timer, or a text. A text that replies to nothing and lives
   * for ever goes as {@link Client.send} does it, which every version reads. `ttlSeconds` is for how long the server keeps the
   * message, and receivers a text; 0 is what the chat's timer says ({@link Client.timer}), and for ever where there is none. Who deletes a message that brought a file gives the result, and {@link FileBody.blob}, to
   * {@link Media.dropAfter}. Throws {@link ChatError} `bad_packet` for a body that cannot be.
   */
  async sendBody(to: string, body: Body, options: SendOptions = {}, signal?: AbortSignal): Promise<Sent> {
    const ttlSeconds = this.ttlOf(options) || this.timer(to)
    const { type, content } = typedOf(body.kind === 'text' ? { ...body, seconds: ttlSeconds } : body)
    return this.sendTyped(to, type, content, { ...options, ttlSeconds }, signal)
  }

  /**
   * For how many seconds messages live that are sent to a user or group now, as the newest timer of that chat says which this device
   * has sent or read, or was handed when it was linked, held to {@link PlainClient.maxTtlSeconds}; 0 is for ever. {@link Client.sendBody}
   * and {@link sendFile} go by it.
   */
  timer(peer: string): number {
    return Math.min(valueOf(this.#machine.timer(peer)), this.maxTtlSeconds || Infinity)
  }

  /**
   * Returns the next event, as {@link PlainClient.receive} does, decrypted, and those of the encryption. A message whose key has
   * not come is held, durably, and asked for; it comes when its key does.
   */
  override async receive(signal?: AbortSignal): Promise<EncryptedEvent & ClientEvent> {
    valueOf(this.#machine.handled())
    for (;;) {
      const ready = valueOf(this.#machine.next())
      if (ready) return this.#eventOf(ready) as EncryptedEvent & ClientEvent
      const event = this.#again ?? (await super.receive(signal))
      this.#again = event
      const out = await this.#take(event)
      this.#again = null
      if (out) return out as EncryptedEvent & ClientEvent
    }
  }

  async #take(event: ClientEvent): Promise<EncryptedEvent | null> {
    if (event.type === 'connected') valueOf(this.#machine.connected())
    if (event.type === 'truncated') valueOf(this.#machine.truncated())
    if (event.type === 'problem' && event.id) valueOf(this.#machine.refused(event.id))
    if (event.type !== 'message' && event.type !== 'group_message' && event.type !== 'copy') return event
    const copy = event.type === 'copy'
    if (copy && isGroup(event.message.to) && nodeOfId(event.message.id) === this.core.node) {
      await call(this.#machine.own, packetOf(event.message, true))
      return null
    }
    const out = await call(this.#machine.take, packetOf(event.message, copy))
    return out && this.#eventOf(out)
  }

  #eventOf(e: MachineEvent): EncryptedEvent {
    if (e.type === 'identity_changed' || e.type === 'unannounced' || e.type === 'left_out') return e
    if (e.type === 'bad_keys') return { ...e, error: errorOf(e.error) }
    if (e.type === 'link_used' || e.type === 'linked_history') return { ...e, error: e.error && errorOf(e.error) }
    if (e.type === 'problem') return { type: 'problem', id: null, error: errorOf(e.error) }
    const { message, copy } = this.#messageOf(e.packet)
    if (e.type === 'group_named') return { type: 'group_named', message, info: e.info }
    if (e.type === 'typed') return { type: 'typed', message, copy, kind: e.kind }
    if (e.type === 'failed') return { type: 'failed', message: { ...message, content: null }, copy, error: errorOf(e.error) }
    if (copy) return { type: 'copy', message }
    return { type: isGroup(message.to) ? 'group_message' : 'message', message }
  }

  #messageOf(packet: Uint8Array): { message: Message; copy: boolean } {
    const [p] = decodePackets(packet)
    if (p?.type !== 'message' && p?.type !== 'group_message' && p?.type !== 'copy') throw new Error('no message')
    const { user } = this.core.settings
    const rest = { id: p.id!, at: Number(p.late), expires: Number(p.expires), suite: p.suite, content: p.content, media: p.media }
    if (p.type === 'copy') return { message: { ...rest, from: user, to: p.to, place: p.place }, copy: true }
    if (p.type === 'group_message') return { message: { ...rest, from: p.from, to: p.group, place: p.place }, copy: false }
    return { message: { ...rest, from: p.from, to: user, place: p.pos }, copy: false }
  }

  /** Says that the event which receive returned last has been handled. */
  override handled(): void {
    if (this.#machine) valueOf(this.#machine.handled())
    super.handled()
  }

  /** Is {@link PlainClient.history}, decrypted. Key shares are left out; the content of what cannot be read is null. */
  override async history(peer: string, before: MessageId | null = null, limit = 0, signal?: AbortSignal): Promise<HistoryPage> {
    for (;;) {
      const page = await super.history(peer, before, limit, signal)
      const messages = page.messages.filter((m) => m.suite !== suiteKeyShare).map((m) => this.#readable(m))
      if (messages.length > 0 || page.next === null) return { ...page, messages }
      before = page.next
    }
  }

  /**
   * Is history of messages of all types, with what they say: give them to a {@link Timeline}. A page may have no message and more all
   * the same; `next` is from where the next page begins.
   */
  async saidBefore(peer: string, before: MessageId | null = null, limit = 0, signal?: AbortSignal): Promise<SaidPage> {
    const page = await super.history(peer, before, limit, signal)
    const said: SaidPage = { ...page, messages: [], bodies: [], changes: [] }
    for (const m of page.messages) {
      if (m.suite === suiteGroup && isGroup(m.to)) said.changes.push(m)
      if (m.suite === suiteKeyShare || m.suite === suiteGroup) continue
      const read = this.#read(m)
      if (read?.kind === typeGroupInfo) continue // the group's name: groupInfo has it
      said.messages.push({ ...m, content: read?.content ?? null })
      said.bodies.push(bodyOfType(read?.kind ?? 0, read?.content ?? new Uint8Array()))
    }
    return said
  }

  /**
   * Fills in what is unread of so many chats, as {@link Unread.load} does: changes of other messages, and timers, count for nothing,
   * and what cannot be read counts.
   */
  async loadUnread(unread: Unread, chats: number, signal?: AbortSignal): Promise<void> {
    const source = {
      chats: super.chats.bind(this),
      history: async (peer: string, before: MessageId | null, limit: number) => {
        const { bodies, changes: _, ...page } = await this.saidBefore(peer, before, limit, signal)
        return { ...page, messages: page.messages.filter((_, i) => counts(bodies[i]!)) }
      },
    }
    await unread.load(source, chats, signal)
  }

  /** The type and content of a message of history; null: it cannot be read. */
  #read(m: Message): { kind: number; content: Uint8Array } | null {
    return valueOf(this.#machine.readable(packetOf(m, m.from === this.core.settings.user)))
  }

  #readable(m: Message): Message {
    if (m.suite === suiteGroup && isGroup(m.to)) return m // the server reads it too
    const read = this.#read(m)
    return { ...m, content: read?.kind === typeBody ? read.content : null }
  }

  /** Is {@link PlainClient.chats}, with the newest messages decrypted as history's are. */
  override async chats(before: MessageId | null = null, limit = 0, signal?: AbortSignal): Promise<ChatsPage> {
    const page = await super.chats(before, limit, signal)
    const chats: Chat[] = []
    for (const chat of page.chats) {
      let last = chat.last
      if (last.suite === suiteKeyShare) last = (await this.history(chat.peer, last.id, 1, signal)).messages[0] ?? { ...last, content: null }
      else last = this.#readable(last)
      chats.push({ ...chat, last })
    }
    return { ...page, chats }
  }

  /**
   * Makes a group, as {@link PlainClient.createGroup}; its name, in UTF-8, is a message that only the members can read. It returns
   * when the server has both durably.
   */
  override async createGroup(
    name: Uint8Array | null,
    users: string[],
    options: Pick<SendOptions, 'id'> = {},
    signal?: AbortSignal,
  ): Promise<{ group: string; sent: Sent }> {
    const id = idOf(options) ?? (await this.newId(signal))
    const change = encodeChange({ verb: 'create', users, info: new Uint8Array() })
    await call(this.#machine.changing, id, change)
    const made = await super.createGroup(null, users, { id }, signal)
    await this.#changed(made.group, change, made.sent, signal)
    if (name) await this.setGroupInfo(made.group, name, {}, signal)
    return made
  }

  /**
   * Changes a group, as {@link PlainClient.changeGroup}, and returns when the server has the change durably. Who is added is
   * sent the group's name; what is sent from then on they can read, and who is removed cannot.
   */
  override async changeGroup(
    group: string,
    verb: 'add' | 'remove' | 'leave' | 'admin' | 'member',
    users: string[] = [],
    options: Pick<SendOptions, 'id'> = {},
    signal?: AbortSignal,
  ): Promise<Sent> {
    const id = idOf(options) ?? (await this.newId(signal))
    const change = encodeChange({ verb, users, info: new Uint8Array() })
    await call(this.#machine.changing, id, change)
    const sent = await super.changeGroup(group, verb, users, { id }, signal)
    await this.#changed(group, change, sent, signal)
    const info = valueOf(this.#machine.groupInfo(group))
    if (info && verb === 'add') await this.#sendInfo(group, info, {}, signal)
    return sent
  }

  async #changed(group: string, change: Uint8Array, sent: Sent, signal?: AbortSignal): Promise<void> {
    await sent.durable(signal)
    valueOf(this.#machine.changed(group, change, String(sent.place)))
  }

  /** Gives a group its name, in UTF-8, end to end; null takes it away. Members take it from admins alone. */
  override async setGroupInfo(group: string, name: Uint8Array | null, options: Pick<SendOptions, 'id'> = {}, signal?: AbortSignal): Promise<Sent> {
    const picture = valueOf(this.#machine.groupInfo(group))?.picture ?? null
    return this.#sendInfo(group, { name: new TextDecoder().decode(name ?? new Uint8Array()), picture }, options, signal)
  }

  /**
   * Gives a group its picture, end to end; null takes it away. The name stays as this device knows it, so wait for `caught_up` first. The
   * picture is whole within the message, and goes to whoever joins: some kilobytes. A device that is linked later is handed none of more than 8 KiB.
   */
  async setGroupPicture(group: string, picture: Uint8Array | null, options: Pick<SendOptions, 'id'> = {}, signal?: AbortSignal): Promise<Sent> {
    const name = valueOf(this.#machine.groupInfo(group))?.name ?? ''
    return this.#sendInfo(group, { name, picture }, options, signal)
  }

  async #sendInfo(group: string, info: GroupInfo, options: Pick<SendOptions, 'id'>, signal?: AbortSignal): Promise<Sent> {
    const body = valueOf(this.#machine.setGroupInfo(group, info.name, info.picture))
    return this.sendTyped(group, typeGroupInfo, body, options, signal)
  }

  /** A group's name and picture, as far as they have come to this device; null: they have not. */
  groupInfo(group: string): GroupInfo | null {
    return valueOf(this.#machine.groupInfo(group))
  }

  /** Who is in a group as this device knows it: those for whom it encrypts. */
  groupMembers(group: string): Promise<GroupMember[]> {
    return call(this.#machine.members, group)
  }

  /** Waits until this device's keys are on the server: from then on others can write to it. */
  async published(): Promise<void> {
    await call(this.#machine.published)
  }

  /** Returns the safety number with a user, whose identity it looks up where it is not known. */
  safety(user: string): Promise<Safety> {
    return call(this.#machine.safety, user)
  }

  /** Notes whether the user has compared the safety number with a peer. */
  async verify(user: string, verified: boolean): Promise<void> {
    await call(this.#machine.verify, user, verified)
  }

  /** Trusts the identity that the server names for a user from now on, after `identity_changed`. */
  async accept(user: string): Promise<void> {
    await call(this.#machine.accept, user)
  }

  /**
   * Returns a code that links one new device of the user, which gives it to {@link Client.join} within ten minutes: as text, or in
   * a QR code. Whoever has it, and can connect as the user, gets the user's identity, and what history is read by, of which the
   * options leave out all or some chats. `link_used` says that it was given, `linked_history` that all is on its way; meanwhile
   * somebody has to call {@link Client.receive}. Another code takes its place.
   */
  offerLink(options: LinkOptions = {}): Promise<string> {
    return call(this.#machine.offerLink, options.history ?? true, options.without ?? [])
  }

  /** Makes the code of {@link Client.offerLink} good no more. */
  withdrawLink(): void {
    valueOf(this.#machine.withdrawLink())
  }

  /**
   * Gives the code that another device of the user shows, and returns when this device has the user's identity and others can
   * write to it. What was sent before can be read after `linked_history`. Meanwhile somebody has to call {@link Client.receive}.
   * Throws {@link EncryptionError} `link_code`, `link_identity`, `linked`, `no_keys`, or `not_linked` when the signal ended it.
   */
  async join(code: string, signal?: AbortSignal): Promise<void> {
    await call(this.#machine.join, code, signal ?? null)
  }

  /**
   * Revokes another device of this user, as {@link PlainClient.revokeDevice}, and tells everybody, who send by new sessions from then
   * on. It may throw when the device is gone already and not all were told, and be repeated.
   */
  async removeDevice(device: string): Promise<void> {
    await call(this.#machine.removeDevice, device)
  }

  /** Is {@link PlainClient.revokeDevice}, and tells everybody as {@link Client.removeDevice} does. */
  override async revokeDevice(device: string, signal?: AbortSignal): Promise<void> {
    await super.revokeDevice(device, signal)
    if (device !== this.core.settings.device) await call(this.#machine.devicesChanged)
  }

  /** How many messages wait for their keys. */
  get waiting(): number {
    return valueOf(this.#machine.waiting())
  }

  /** Ends the client as {@link PlainClient.close} does, and writes the keys. */
  override close(signal?: AbortSignal): Promise<void> {
    this.#closed ??= this.#close(signal)
    return this.#closed
  }

  async #close(signal?: AbortSignal): Promise<void> {
    valueOf(this.#machine.stop())
    try {
      await super.close(signal)
    } finally {
      await call(this.#machine.close)
    }
  }
}

/** A message as the machine reads it: late carries when the server had it, whole. */
function packetOf(m: Message, copy: boolean): Uint8Array {
  const rest = { id: m.id, late: BigInt(m.at), suite: m.suite, content: m.content, expires: BigInt(m.expires), media: m.media }
  if (!copy && isGroup(m.to)) return encodePacket('group_message', { ...rest, from: m.from, group: m.to, place: m.place })
  return copy ? encodePacket('copy', { ...rest, to: m.to, place: m.place }) : encodePacket('message', { ...rest, from: m.from, pos: m.place })
}
