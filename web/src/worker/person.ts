import { ChatError, Client, ClosedError, EncryptionError, type EncryptedEvent, type Message as Received, type Sent, StateError } from '../../../sdk/js/src/index.ts'
import { sortKeyOfId } from '../../../sdk/js/src/id.ts'
import type { Calls, Message, News, Page, State } from '../talk.ts'
import { base64, bytesOf, download, fileOf, mediaPrefix, upload } from './media.ts'
import { shrink } from './picture.ts'
import { ask, type Config, SiteError, Tokens } from './site.ts'
import { type Body, type ChatRow, type Row, Store } from './store.ts'

/** Messages of a page. */
const pageRows = 50
/** Pages of history that are read to close a gap. */
const gapPages = 10
/** Chats whose users are watched. The server lets a session watch 256. */
const watchedChats = 128
/** Before what could not be sent is tried again: doubled up to the second. */
const retryMinMs = 1000
const retryMaxMs = 15_000
/** Before the server is asked again that did not answer. */
const siteRetryMs = 2000
/** The longest that the SDK waits before it connects again: somebody looks at the page. */
const backoffMaxMs = 5000
/** The type of a message that brings a file: e2ee.TypeFile of the Go SDK. */
const typeFile = 2

/** What a browser is given as a picture; all else is a file to save. SVG can hold programs. */
const pictureTypes = /^image\/(png|jpeg|gif|webp|avif)$/

const nothingYet: Omit<ChatRow, 'peer'> = { delivered: 0n, read: 0n, mine: 0n, top: 0n, unread: 0, changed: false }

const max = (a: bigint, b: bigint) => (a > b ? a : b)
const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms))

/** The compiled encryption: it begins with the Worker, beside everything else. */
let core: Promise<WebAssembly.Module> | null = null
function compiled(): Promise<WebAssembly.Module> {
  core ??= WebAssembly.compileStreaming(fetch('/crypto/e2ee.wasm')).catch((err) => {
    core = null
    throw err
  })
  return core
}
void compiled().catch(() => {})

/**
 * A user in this browser: the connection, what is kept of the chats, and what waits to be sent. An event of the connection is
 * kept before the next one is asked for, so what is marked as delivered is here. What the user writes is kept, then named, then
 * sent under that name, so a page that ends anywhere in between sends it once.
 */
export class Person implements Calls {
  readonly #tell: (news: News) => void
  #user = ''
  #anew = false
  #store!: Store
  #tokens!: Tokens
  #client: Client | null = null
  #flying = false
  #turn: Promise<void> = Promise.resolve()
  readonly #chats = new Map<string, ChatRow>()
  readonly #last = new Map<string, Message>()
  /** What waits for the SDK, by chat. */
  readonly #queues = new Map<string, Row[]>()
  readonly #pumping = new Set<string>()
  readonly #retries = new Map<string, { timer: number; waitMs: number }>()
  /** Of this connection: who is watched, and which chats were compared with the server's. */
  #watched = new Set<string>()
  #merged = new Set<string>()
  /** Chats whose oldest message is here. */
  readonly #whole = new Set<string>()

  constructor(tell: (news: News) => void) {
    this.#tell = tell
  }

  async open(user: string, anew: boolean): Promise<void> {
    if (this.#user === '') {
      this.#user = user
      this.#tokens = new Tokens(user)
      this.#store = await Store.open(user)
      for (const chat of await this.#store.chats()) {
        this.#chats.set(chat.peer, chat)
        const [last] = await this.#store.page(chat.peer, '', 1)
        if (last) this.#last.set(chat.peer, viewOf(last))
        this.#tellChat(chat)
      }
      for (const row of await this.#store.unsent()) if (row.stage === 'waiting') this.#queue(row.peer).push(row)
    }
    this.#anew = anew
    void this.#inTurn(async () => {
      await this.#disconnect()
      await this.#connect()
    })
  }

  async aeroplane(on: boolean): Promise<void> {
    this.#flying = on
    return this.#inTurn(async () => {
      if (this.#flying !== on) return
      if (on) {
        await this.#disconnect()
        this.#state('aeroplane')
      } else if (!this.#client) await this.#connect()
    })
  }

  /** Connecting and disconnecting are one at a time. */
  #inTurn(act: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(act)
    this.#turn = done.catch((err: unknown) => this.#state('stopped', textOf(err)))
    return this.#turn
  }

  async #connect(): Promise<void> {
    this.#state('starting')
    const config = await this.#site()
    if (!config) return
    let client: Client
    try {
      client = await Client.open({
        url: config.sockets, user: this.#user, device: this.#store.device, token: () => this.#tokens.get(),
        wasm: await compiled(), backoffMaxMs, resetIdentity: this.#anew,
      })
    } catch (err) {
      if (err instanceof StateError) throw new Error(`${this.#user} is open in another tab of this browser. Close that one, and load this page again.`)
      throw err
    }
    this.#client = client
    this.#watched = new Set()
    this.#merged = new Set()
    void this.#listen(client)
    await this.#resume(client)
  }

  /** What the server says of itself, once it lets us be who we are; null: not wanted any more. */
  async #site(): Promise<Config | null> {
    while (!this.#flying) {
      try {
        const config = await ask<Config>('GET', '/config')
        await this.#tokens.get()
        return config
      } catch (err) {
        if (err instanceof SiteError && err.status < 500) throw err
        this.#state('offline', 'The server does not answer.')
        await sleep(siteRetryMs)
      }
    }
    return null
  }

  async #disconnect(): Promise<void> {
    const client = this.#client
    this.#client = null
    for (const { timer } of this.#retries.values()) clearTimeout(timer)
    this.#retries.clear()
    await client?.close()
  }

  /** Goes on with what an earlier page left: what the SDK has not got accepted, what it never got, and what was read. */
  async #resume(client: Client): Promise<void> {
    const outbox = new Map(client.outbox.map((sent) => [sent.id, sent]))
    for (const row of await this.#store.unsent()) {
      const sent = outbox.get(row.id)
      if (!sent && row.stage === 'waiting') continue
      this.#unqueue(row)
      if (sent) void this.#follow(client, sent, row)
      else await this.#keep(this.#chat(row.peer), { ...row, stage: 'done' }) // accepted; where, history knows
      this.#merged.delete(row.peer)
    }
    for (const chat of this.#recent()) if (chat.mine > 0n) client.markRead(chat.peer, chat.mine)
    for (const peer of this.#queues.keys()) void this.#pump(peer)
  }

  async #listen(client: Client): Promise<void> {
    try {
      for await (const event of client) await this.#take(client, event)
    } catch (err) {
      if (client === this.#client) this.#state('stopped', textOf(err))
    }
  }

  async #take(client: Client, event: EncryptedEvent): Promise<void> {
    switch (event.type) {
      case 'connected':
        this.#state('online')
        this.#watched.clear()
        for (const chat of this.#recent()) if (this.#last.has(chat.peer)) this.#watch(client, chat.peer)
        for (const peer of this.#queues.keys()) void this.#pump(peer)
        return
      case 'disconnected':
        return this.#state('offline', event.error.message)
      case 'message':
      case 'copy':
        return this.#received(event.message, '')
      case 'typed':
        return this.#received(event.message, event.kind === typeFile ? '' : 'This is of a kind that this page does not know.')
      case 'failed':
        return this.#received(event.message, whyUnreadable(event.error))
      case 'receipt': {
        this.#watch(client, event.peer)
        return this.#advance(this.#chat(event.peer), event.delivered, event.read)
      }
      case 'caught_up':
        return this.#look(client)
      case 'truncated':
        this.#merged.clear()
        return
      case 'typing':
        return this.#tell({ type: 'typing', peer: event.peer, on: event.on })
      case 'presence':
        this.#tell({ type: 'presence', peer: event.peer, online: event.online, seen: event.seen })
        if (event.online) void this.#pump(event.peer)
        return
      case 'identity_changed': {
        const chat = this.#chat(event.user)
        chat.changed = true
        return this.#keep(chat)
      }
      case 'problem':
        return this.#problem(client, event.id, event.error)
    }
  }

  async #received(m: Received, note: string): Promise<void> {
    const row = rowOf(m, this.#user, note)
    const known = await this.#store.byId(m.id)
    if (known && known.stage !== 'failed') return
    const chat = this.#chat(row.peer)
    if (!row.mine) {
      chat.top = max(chat.top, m.place)
      if (m.place > chat.mine) chat.unread++
    }
    await this.#keep(chat, row)
    if (this.#client) this.#watch(this.#client, row.peer)
    void this.#pump(row.peer)
  }

  async #advance(chat: ChatRow, delivered: bigint, read: bigint): Promise<void> {
    if (delivered <= chat.delivered && read <= chat.read) return
    chat.delivered = max(chat.delivered, delivered)
    chat.read = max(chat.read, read)
    await this.#keep(chat)
  }

  async #problem(client: Client, id: string | null, error: Error): Promise<void> {
    if (isElsewhere(error)) return this.#state('elsewhere')
    const row = id && (await this.#store.byId(id))
    if (row) await this.#refused(client, row, error)
  }

  /** Asks once a connection, when the chain has been read, for chats that this device has no message of. */
  async #look(client: Client): Promise<void> {
    if (this.#merged.has('')) return
    this.#merged.add('')
    void (async () => {
      const { chats } = await client.chats(null, pageRows)
      for (const { peer, last, delivered, read, mine } of chats) {
        const chat = this.#chat(peer)
        chat.mine = max(chat.mine, mine)
        const known = await this.#store.byId(last.id)
        if (!known && last.content) {
          const row = rowOf(last, this.#user, '')
          if (!row.mine) {
            chat.top = max(chat.top, last.place)
            if (last.place > chat.mine) chat.unread++
          }
          await this.#keep(chat, row)
        }
        this.#watch(client, peer)
        await this.#advance(chat, delivered, read)
      }
    })().catch(() => {}) // the next connection looks again
  }

  #watch(client: Client, peer: string): void {
    if (this.#watched.has(peer) || this.#watched.size >= watchedChats) return
    this.#watched.add(peer)
    client.watch(peer)
  }

  async begin(peer: string): Promise<void> {
    await this.#keep(this.#chat(peer))
  }

  async page(peer: string, before: string): Promise<Page> {
    const client = this.#client
    let rows = await this.#store.page(peer, before, pageRows)
    if (before === '' && client && !this.#merged.has(peer)) {
      this.#merged.add(peer)
      void this.#merge(client, peer, null).catch(() => this.#merged.delete(peer))
    }
    if (before !== '' && client && rows.length < pageRows && !this.#whole.has(peer)) {
      await this.#merge(client, peer, rows.find((row) => row.id)?.id ?? idOfOrder(before))
      rows = await this.#store.page(peer, before, pageRows)
    }
    return { messages: rows.map(viewOf), more: rows.length === pageRows || (rows.length > 0 && !this.#whole.has(peer)) }
  }

  /** Takes from the server's history what this device does not have, back to what it has. */
  async #merge(client: Client, peer: string, before: string | null): Promise<void> {
    for (let n = 0; n < gapPages; n++) {
      const page = await client.history(peer, before, pageRows)
      const chat = this.#chat(peer)
      const news: Row[] = []
      let known = false
      for (const m of page.messages) {
        const row = await this.#store.byId(m.id)
        known ||= row !== null
        if (!row) news.push(rowOf(m, this.#user, m.content ? '' : 'This cannot be read here: its key is on other devices only.'))
        else if (row.mine && row.place !== m.place && row.stage === 'done') news.push({ ...row, place: m.place })
      }
      for (const row of news) if (!row.mine) chat.top = max(chat.top, row.place)
      if (news.length > 0) await this.#keep(chat, ...news)
      await this.#advance(chat, page.delivered, page.read)
      if (!page.more) this.#whole.add(peer)
      if (!page.more || known || before !== null) return
      before = page.messages.at(-1)!.id
    }
  }

  async send(peer: string, text: string): Promise<void> {
    await this.#write(peer, { text, note: '', file: null })
  }

  async sendPicture(peer: string, file: File): Promise<void> {
    const { bytes, thumbnail } = await shrink(file)
    const key = crypto.randomUUID()
    await this.#store.putFile(key, bytes)
    const name = `${file.name.replace(/\.[^.]*$/, '') || 'picture'}.jpg`
    const about = { name, type: 'image/jpeg', thumbnail: base64(thumbnail) }
    await this.#write(peer, { text: '', note: '', file: { key: '', digest: '', size: bytes.length, blob: '', ...about } }, key)
  }

  async #write(peer: string, body: Body, key: string = crypto.randomUUID()): Promise<void> {
    const at = this.#client?.now ?? Date.now()
    const queue = this.#queue(peer)
    const row: Row = { key, peer, mine: true, order: orderOfWaiting(at, queue.at(-1)?.order ?? ''), at, id: '', stage: 'waiting', place: 0n, body }
    queue.push(row)
    await this.#keep(this.#chat(peer), row)
    void this.#pump(peer)
  }

  /** Hands what waits in a chat to the SDK, one after the other. */
  async #pump(peer: string): Promise<void> {
    if (this.#pumping.has(peer)) return
    this.#pumping.add(peer)
    try {
      for (;;) {
        const [client, row] = [this.#client, this.#queue(peer)[0]]
        if (!client || !row || !(await this.#hand(client, row))) return
        this.#retries.delete(peer)
      }
    } finally {
      this.#pumping.delete(peer)
    }
  }

  /** Hands one message to the SDK, and reports whether the next may follow. */
  async #hand(client: Client, row: Row): Promise<boolean> {
    const chat = this.#chat(row.peer)
    try {
      if (!row.id) {
        row.id = await client.newId()
        row.order = sortKeyOfId(row.id)
        await this.#keep(chat, row)
      }
      const sent = await this.#post(client, row)
      this.#unqueue(row)
      row.stage = 'outbox'
      row.body.note = ''
      await this.#keep(chat, row)
      void this.#follow(client, sent, row)
      return true
    } catch (err) {
      if (client !== this.#client || client.error) return false // the next connection goes on
      if (err instanceof ChatError && err.action === 'stop') {
        this.#unqueue(row)
        await this.#refused(client, row, err)
        return true
      }
      row.body.note = this.#whyWaiting(chat, err)
      await this.#keep(chat, row)
      this.#retry(row.peer)
      return false
    }
  }

  async #post(client: Client, row: Row): Promise<Sent> {
    const { file, text } = row.body
    if (!file) return client.send(row.peer, text, { id: row.id })
    if (!file.blob) {
      const bytes = await this.#store.file(row.key)
      if (!bytes) throw new ChatError('bad_media', 'the picture is not in this browser any more')
      Object.assign(file, await upload(this.#tokens, bytes))
      await this.#keep(this.#chat(row.peer), row)
      await this.#store.dropFile(row.key)
    }
    return client.sendTyped(row.peer, typeFile, JSON.stringify(file), { id: row.id, media: mediaPrefix + file.blob })
  }

  #whyWaiting(chat: ChatRow, err: unknown): string {
    const reason = err instanceof EncryptionError ? err.reason : ''
    if (reason === 'no_keys') return `Waits until ${chat.peer} is here for the first time.`
    if (reason === 'changed') {
      chat.changed = true
      return 'Waits for you: the safety number has changed.'
    }
    if (reason === 'own_identity') {
      this.#state('elsewhere')
      return 'Waits: another browser has your name.'
    }
    return textOf(err)
  }

  #retry(peer: string): void {
    const last = this.#retries.get(peer)
    clearTimeout(last?.timer)
    const waitMs = Math.min(retryMaxMs, (last?.waitMs ?? retryMinMs / 2) * 2)
    this.#retries.set(peer, { waitMs, timer: self.setTimeout(() => void this.#pump(peer), waitMs) })
  }

  /** Keeps what becomes of a message that the SDK has. */
  async #follow(client: Client, sent: Sent, row: Row): Promise<void> {
    try {
      await sent.durable()
      await this.#keep(this.#chat(row.peer), Object.assign(row, { stage: 'done', place: sent.place }))
    } catch (err) {
      if (sent.error) await this.#refused(client, row, sent.error)
      else if (client === this.#client && !(err instanceof ClosedError)) this.#state('stopped', textOf(err))
    }
  }

  async #refused(client: Client, row: Row, error: Error): Promise<void> {
    const chat = this.#chat(row.peer)
    // It had arrived, in the life of an earlier page; where it is, history knows.
    if (error instanceof ChatError && error.codeName === 'id_conflict') {
      await this.#keep(chat, Object.assign(row, { stage: 'done', place: 0n }))
      await this.#merge(client, row.peer, null).catch(() => this.#merged.delete(row.peer))
      return
    }
    row.body.note = error.message
    await this.#keep(chat, Object.assign(row, { stage: 'failed' }))
  }

  async fetch(key: string): Promise<Blob> {
    const row = await this.#store.row(key)
    const file = row?.body.file
    if (!file) throw new Error('there is no file with this message')
    const bytes = file.blob ? await download(this.#tokens, file) : await this.#store.file(key)
    if (!bytes) throw new Error('the picture is not in this browser any more')
    return new Blob([bytes.slice()], { type: pictureTypes.test(file.type) ? file.type : 'application/octet-stream' })
  }

  async shown(peer: string): Promise<void> {
    const chat = this.#chat(peer)
    if (chat.top <= chat.mine && chat.unread === 0) return
    chat.mine = max(chat.mine, chat.top)
    chat.unread = 0
    this.#client?.markRead(peer, chat.mine)
    await this.#keep(chat)
  }

  async typing(peer: string, on: boolean): Promise<void> {
    this.#client?.typing(peer, on)
  }

  async safety(peer: string): Promise<{ digits: string; verified: boolean }> {
    const { digits, verified } = await this.#connected().safety(peer)
    return { digits, verified }
  }

  async verify(peer: string, verified: boolean): Promise<void> {
    await this.#connected().verify(peer, verified)
  }

  async accept(peer: string): Promise<void> {
    await this.#connected().accept(peer)
    const chat = this.#chat(peer)
    chat.changed = false
    await this.#keep(chat)
    void this.#pump(peer)
  }

  #connected(): Client {
    if (!this.#client) throw new Error('there is no connection')
    return this.#client
  }

  /** Keeps a chat and messages of it, then tells the page. */
  async #keep(chat: ChatRow, ...rows: Row[]): Promise<void> {
    await this.#store.put(chat, ...rows)
    for (const row of rows) {
      const message = viewOf(row)
      const last = this.#last.get(chat.peer)
      if (!last || last.key === message.key || last.order < message.order) this.#last.set(chat.peer, message)
      this.#tell({ type: 'message', message })
    }
    this.#tellChat(chat)
  }

  #tellChat({ peer, delivered, read, unread, changed }: ChatRow): void {
    this.#tell({ type: 'chat', chat: { peer, delivered, read, unread, changed, last: this.#last.get(peer) ?? null } })
  }

  #state(state: State, text = ''): void {
    this.#tell({ type: 'state', state, text })
  }

  #chat(peer: string): ChatRow {
    let chat = this.#chats.get(peer)
    if (!chat) this.#chats.set(peer, (chat = { peer, ...nothingYet }))
    return chat
  }

  /** The chats that somebody wrote in lately. */
  #recent(): ChatRow[] {
    const at = (chat: ChatRow) => this.#last.get(chat.peer)?.at ?? 0
    return [...this.#chats.values()].sort((a, b) => at(b) - at(a)).slice(0, watchedChats)
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

/** The order of what has no id yet: after all that have one, and among each other as they were written. */
function orderOfWaiting(at: number, last: string): string {
  const least = last.startsWith('w') ? Number(last.slice(1)) + 1 : 0
  return `w${String(Math.max(Math.floor(at), least)).padStart(16, '0')}`
}

/** The id that sorts so. */
function idOfOrder(order: string): string | null {
  if (order.startsWith('w')) return null
  const [high, mid, low, rest] = [order.slice(0, 4), order.slice(4, 8), order.slice(8, 16), order.slice(16)]
  return `${low}-${mid}-${high}-${rest}`
}

function rowOf(m: Received, user: string, note: string): Row {
  const mine = m.from === user
  const file = m.content && m.media.startsWith(mediaPrefix) ? fileOf(m.content) : null
  const text = file ? (file.text ?? '') : note || !m.content ? '' : new TextDecoder().decode(m.content)
  return {
    key: m.id, peer: mine ? m.to : m.from, mine, order: sortKeyOfId(m.id), at: m.at, id: m.id,
    stage: m.content ? 'done' : 'failed', place: m.place, body: { text, note, file },
  }
}

function viewOf({ key, peer, mine, order, at, stage, place, body: { text, note, file } }: Row): Message {
  const seen = stage === 'failed' ? stage : stage === 'done' ? (mine ? 'sent' : 'received') : 'waiting'
  const view = file && { name: file.name, type: file.type, size: file.size, thumbnail: file.thumbnail ? bytesOf(file.thumbnail) : null }
  return { key, peer, mine, order, at, stage: seen, place, text, note, file: view }
}

function isElsewhere(err: unknown): boolean {
  return (err instanceof EncryptionError && err.reason === 'own_identity') || (err instanceof ChatError && err.codeName === 'other_identity')
}

function whyUnreadable(err: Error): string {
  const reason = err instanceof EncryptionError ? err.reason : ''
  if (reason === 'plain') return 'A message that was not encrypted is not shown.'
  if (reason === 'no_key') return 'This cannot be read: its key did not come.'
  return `This cannot be read: ${err.message}`
}

function textOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
