import { bodyOf, ChatError, Client, ClosedError, EncryptionError, isGroup, mediaPrefix, msOfId, type Sent, typeFile } from '../../../sdk/js/src/index.ts'
import { sortKeyOfId } from '../../../sdk/js/src/id.ts'
import type { Change, State } from '../talk.ts'
import type { Uploads } from './media.ts'
import { orderOfWaiting } from './rows.ts'
import type { Body, ChatRow, Row, Store } from './store.ts'

/** Before what could not be sent is tried again: doubled up to the second. */
const retryMinMs = 1000
const retryMaxMs = 15_000

/** What a sender needs of who writes. */
export interface Writer {
  readonly user: string
  /** null: none now. */
  readonly client: Client | null
  chat(peer: string): ChatRow
  /** Keeps a chat and messages of it, and shows them. */
  keep(chat: ChatRow, ...rows: Row[]): Promise<void>
  /** Looks in the server's history where a message is that had arrived. */
  find(client: Client, peer: string): Promise<void>
  /** Returns once what waited for this device has come over a connection. Throws when that is not the user's any more. */
  caughtUp(client: Client): Promise<void>
  /** Forgets a message that was not sent. */
  drop(row: Row): Promise<void>
  /** The server has taken a change of a group in. */
  changed(client: Client, row: Row): void
  /** A change of a group's name or picture was not made. */
  unchanged(client: Client, row: Row): void
  state(state: State, text: string): void
}

/**
 * What the user writes on its way out: kept, then named, then handed to the SDK under that name, one after the other in each chat,
 * so that a page that ends anywhere in between sends it once.
 */
export class Sender {
  readonly #writer: Writer
  readonly #store: Store
  readonly #uploads: Uploads
  /** What waits for the SDK, by chat. */
  readonly #queues = new Map<string, Row[]>()
  readonly #pumping = new Set<string>()
  readonly #retries = new Map<string, { timer: number; waitMs: number }>()

  constructor(writer: Writer, store: Store, uploads: Uploads) {
    this.#writer = writer
    this.#store = store
    this.#uploads = uploads
  }

  /** Takes up what an earlier page left that the SDK never got. */
  async restore(): Promise<void> {
    for (const row of await this.#store.unsent()) if (row.stage === 'waiting') this.#queue(row.peer).push(row)
  }

  /** Returns when the message is kept. With an id it is named already. */
  async write(peer: string, body: Body, id = '', key: string = crypto.randomUUID()): Promise<void> {
    const { user, client } = this.#writer
    const at = client?.now ?? Date.now()
    const queue = this.#queue(peer)
    const order = id ? sortKeyOfId(id) : orderOfWaiting(at, queue.at(-1)?.order ?? '')
    const row: Row = { key, peer, mine: true, from: user, order, at, id, stage: 'waiting', place: 0n, ends: 0, body }
    queue.push(row)
    await this.#writer.keep(this.#writer.chat(peer), row)
    void this.pump(peer)
  }

  /** Goes on over a new connection with what an earlier one left: what the SDK has not got accepted, and what it never got. */
  async resume(client: Client, unknown: (peer: string) => void): Promise<void> {
    const outbox = new Map(client.outbox.map((sent) => [sent.id, sent]))
    for (const row of await this.#store.unsent()) {
      const sent = outbox.get(row.id)
      if (!sent && row.stage === 'waiting') continue
      this.#unqueue(row)
      if (sent) void this.#follow(client, sent, row)
      else {
        await this.#writer.keep(this.#writer.chat(row.peer), { ...row, stage: 'done' }) // accepted; where, history knows
        await this.#dropPicture(row)
        unknown(row.peer)
      }
    }
    this.pumpAll()
  }

  /** Takes back a message whose picture is not uploaded yet. */
  async cancel(row: Row): Promise<void> {
    const waits = this.#queue(row.peer).find((each) => each.key === row.key)
    if (!waits?.body.file || waits.body.file.blob) return
    this.#unqueue(row)
    this.#uploads.cancel(row.key)
    await this.#writer.drop(row)
    void this.pump(row.peer)
  }

  /** Tries nothing by itself any more until it is pumped. */
  pause(): void {
    this.#uploads.pause()
    for (const { timer } of this.#retries.values()) clearTimeout(timer)
    this.#retries.clear()
  }

  pumpAll(): void {
    for (const peer of this.#queues.keys()) void this.pump(peer)
  }

  /** Hands what waits in a chat to the SDK, one after the other. */
  async pump(peer: string): Promise<void> {
    if (this.#pumping.has(peer)) return
    this.#pumping.add(peer)
    try {
      for (;;) {
        const [{ client }, row] = [this.#writer, this.#queue(peer)[0]]
        if (!client || !row) return
        if (await this.#hand(client, row)) this.#retries.delete(peer)
        else if (client === this.#writer.client) return
      }
    } finally {
      this.#pumping.delete(peer)
    }
  }

  /** Hands one message to the SDK, and reports whether the next may follow. */
  async #hand(client: Client, row: Row): Promise<boolean> {
    const { chat, keep } = this.#bound(row)
    try {
      if (!row.id) {
        row.id = await client.newId()
        row.order = sortKeyOfId(row.id)
        const said = chat.timer || client.timer(row.peer) // which a device that was linked was told
        const life = Math.min(said, client.maxTtlSeconds || Infinity)
        if (life > 0 && !row.body.change) row.ends = msOfId(row.id) + life * 1000
        await keep()
      }
      const sent = await this.#post(client, row)
      this.#unqueue(row)
      row.stage = 'outbox'
      row.body.note = ''
      await keep()
      void this.#follow(client, sent, row)
      return true
    } catch (err) {
      if (!this.#queue(row.peer).includes(row)) return true // it was cancelled
      if (client !== this.#writer.client || client.error) return false // the next connection goes on
      if ((err instanceof ChatError && err.action === 'stop') || (err instanceof EncryptionError && err.reason === 'not_member')) {
        this.#unqueue(row)
        await this.refused(client, row, err)
        return true
      }
      row.body.note = this.#whyWaiting(chat, err)
      await keep()
      this.#retry(row.peer)
      return false
    }
  }

  #bound(row: Row): { chat: ChatRow; keep: () => Promise<void> } {
    const chat = this.#writer.chat(row.peer)
    return { chat, keep: () => this.#writer.keep(chat, row) }
  }

  async #post(client: Client, row: Row): Promise<Sent> {
    const { peer, id } = row
    const { kind, file, text, target, seconds, change } = row.body
    if (change) return this.#change(client, row, change)
    const ttlSeconds = row.ends ? (row.ends - msOfId(id)) / 1000 : 0
    if (!file) return client.sendBody(peer, bodyOf(kind, { text, target, seconds }), { id, ttlSeconds })
    if (!file.blob) {
      const bytes = await this.#store.file(row.key)
      if (!bytes) throw new ChatError('bad_media', 'the picture is not in this browser any more')
      const uploaded = await this.#uploads.send(row.key, bytes, ttlSeconds)
      if (!this.#queue(peer).includes(row)) throw new Error('it was cancelled')
      Object.assign(file, uploaded)
      await this.#bound(row).keep()
      await this.#store.dropFile(row.key)
    }
    return client.sendTyped(peer, typeFile, JSON.stringify(file), { id, ttlSeconds, media: mediaPrefix + file.blob })
  }

  async #change(client: Client, row: Row, { verb, users, name }: Change): Promise<Sent> {
    const { peer, id } = row
    if (verb === 'create') return (await client.createGroup(name ? bytesOf(name) : null, users, { id })).sent
    if (verb === 'info') return this.#inform(client, row)
    return client.changeGroup(peer, verb, users, { id })
  }

  /** A group's name and picture go together: what has not come here yet would be taken away. */
  async #inform(client: Client, { key, peer, id, body }: Row): Promise<Sent> {
    const { name, picture } = body.change!
    await this.#writer.caughtUp(client)
    const me = (await client.groupMembers(peer)).find((m) => m.user === this.#writer.user)
    if (me && !me.admin) throw new ChatError('not_admin', 'an admin names a group and gives it its picture') // others would not take it
    if (!picture) return client.setGroupInfo(peer, name ? bytesOf(name) : null, { id })
    const bytes = picture === 'set' ? await this.#store.file(key) : null
    if (picture === 'set' && !bytes) throw new ChatError('bad_media', 'the picture is not in this browser any more')
    return client.setGroupPicture(peer, bytes, { id })
  }

  #whyWaiting(chat: ChatRow, err: unknown): string {
    const reason = err instanceof EncryptionError ? err.reason : ''
    if (reason === 'no_keys') return isGroup(chat.peer) ? 'Waits until somebody of the group is here for the first time.' : `Waits until ${chat.peer} is here for the first time.`
    if (reason === 'changed') {
      chat.changed = true
      return 'Waits for you: the safety number has changed.'
    }
    if (reason === 'own_identity') {
      this.#writer.state('elsewhere', '')
      return 'Waits: another browser has your name.'
    }
    return err instanceof Error ? err.message : String(err)
  }

  #retry(peer: string): void {
    const last = this.#retries.get(peer)
    clearTimeout(last?.timer)
    const waitMs = Math.min(retryMaxMs, (last?.waitMs ?? retryMinMs / 2) * 2)
    this.#retries.set(peer, { waitMs, timer: self.setTimeout(() => void this.pump(peer), waitMs) })
  }

  /** Keeps what becomes of a message that the SDK has. */
  async #follow(client: Client, sent: Sent, row: Row): Promise<void> {
    if (row.body.drops) this.#uploads.drop(sent, row.body.drops)
    try {
      await sent.durable()
      Object.assign(row, { stage: 'done', place: sent.place })
      await this.#bound(row).keep()
      await this.#dropPicture(row)
      if (row.body.change) this.#writer.changed(client, row)
    } catch (err) {
      if (sent.error) await this.refused(client, row, sent.error)
      else if (client === this.#writer.client && !(err instanceof ClosedError)) this.#writer.state('stopped', err instanceof Error ? err.message : String(err))
    }
  }

  /** Takes in that the server did not take a message, or a group did not. */
  async refused(client: Client, row: Row, error: Error): Promise<void> {
    // It had arrived, in the life of an earlier page; where it is, history knows.
    if (error instanceof ChatError && error.codeName === 'id_conflict') {
      Object.assign(row, { stage: 'done', place: 0n })
      await this.#bound(row).keep()
      await this.#writer.find(client, row.peer)
      return
    }
    row.body.note = whyRefused(error)
    row.stage = 'failed'
    await this.#bound(row).keep()
    await this.#dropPicture(row)
    if (row.body.change?.verb === 'info') this.#writer.unchanged(client, row)
  }

  /** The picture of a group that waited with the message is not needed any more. */
  async #dropPicture({ key, body }: Row): Promise<void> {
    if (body.change?.picture) await this.#store.dropFile(key)
  }

  #queue(peer: string): Row[] {
    let queue = this.#queues.get(peer)
    if (!queue) this.#queues.set(peer, (queue = []))
    return queue
  }

  #unqueue(row: Row): void {
    this.#queues.set(row.peer, this.#queue(row.peer).filter((each) => each.key !== row.key))
  }
}

const bytesOf = (text: string) => new TextEncoder().encode(text)

function whyRefused(error: Error): string {
  switch (error instanceof ChatError ? error.codeName : (error as EncryptionError).reason) {
    case 'not_member':
      return 'You are no member of the group.'
    case 'not_admin':
      return 'Only admins may do this.'
    case 'group_full':
      return 'The group would have too many members.'
  }
  return error.message
}
