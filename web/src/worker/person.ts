import {
  base64, type Body, ChatError, Client, ClosedError, counts, EncryptionError, type EncryptedEvent, fetchFile, type FileBody, type GroupInfo, groupOf, isGroup, Media, type Message as Received, saidOf, StateError, Unread,
} from '../../../sdk/js/src/index.ts'
import { requested } from '../../../sdk/js/src/idb.ts'
import { Notifier } from '../../../sdk/js/src/notifier.ts'
import type { Calls, Change, DeviceCalls, News, Page, State } from '../talk.ts'
import { Blocks } from './blocks.ts'
import { Devices } from './devices.ts'
import { Groups, nameOf, titleOf } from './groups.ts'
import { History, max, nothingSaid, pageRows } from './history.ts'
import { Log } from './log.ts'
import { Uploads } from './media.ts'
import { shrink, shrinkForGroup } from './picture.ts'
import { GroupPictures } from './pictures.ts'
import { idOfOrder, rowOf } from './rows.ts'
import { Sender } from './sender.ts'
import { ask, type Config, SiteError, Tokens } from './site.ts'
import { type ChatRow, newBody, type Row, Store } from './store.ts'

/** Chats whose users are watched. The server lets a session watch 256. */
const watchedChats = 128
/** Before the server is asked again that did not answer. */
const siteRetryMs = 2000
/** The longest that the SDK waits before it connects again: somebody looks at the page. */
const backoffMaxMs = 5000

/** What a browser is given as a picture; all else is a file to save. SVG can hold programs. */
const pictureTypes = /^image\/(png|jpeg|gif|webp|avif)$/

const nothingYet: Omit<ChatRow, 'peer'> = {
  delivered: 0n, read: 0n, mine: 0n, top: 0n, unread: 0, changed: false, name: '', others: [], out: false,
  blocked: false, blockFault: '', untold: false, timer: 0, timerId: '', leftOut: [], unannounced: [], unseen: [],
}

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
export class Person implements Omit<Calls, keyof DeviceCalls> {
  readonly ownDevices: Devices
  readonly #tell: (news: News) => void
  #user = ''
  #anew = false
  #store!: Store
  #log!: Log
  #unread!: Unread
  #tokens!: Tokens
  #media!: Media
  #pictures!: GroupPictures
  #sender!: Sender
  readonly #groups: Groups
  readonly #blocks: Blocks
  #client: Client | null = null
  #flying = false
  #turn: Promise<void> = Promise.resolve()
  readonly #chats = new Map<string, ChatRow>()
  #history!: History
  /** Of this connection: who is watched, and the look for what this device has not. */
  #watched = new Set<string>()
  #looking: Promise<void> | null = null
  /** What waited for this device has come, and who waits for that. */
  #caught = false
  readonly #catches = new Notifier()
  /** What is being downloaded, by its messages. */
  readonly #downloads = new Map<string, AbortController>()

  constructor(tell: (news: News) => void) {
    this.#tell = tell
    const person = this
    this.#groups = new Groups({
      get user() { return person.#user },
      chat: (peer) => this.#chat(peer), keep: (chat) => this.#keep(chat), tell,
      pictured: (peer, picture) => this.#pictures.take(peer, picture),
    })
    this.#blocks = new Blocks({
      get client() { return person.#client },
      chats: this.#chats, chat: (peer) => this.#chat(peer), keep: (chat) => this.#keep(chat),
    })
    this.ownDevices = new Devices({
      get device() { return person.#store.device },
      connected: () => this.#connected(), tell,
      joined: () => this.#joined(),
      given: (client) => this.#readAgain(client),
      revoked: () => this.#tokens.drop(),
    })
  }

  async open(user: string, anew: boolean): Promise<void> {
    if (this.#user === '') {
      this.#user = user
      this.#tokens = new Tokens(user)
      this.#media = new Media('', (refused) => this.#tokens.get(refused))
      this.#store = await Store.open(user)
      this.#history = this.#newHistory()
      this.#unread = new Unread(user)
      this.#log = new Log(this.#store, {
        now: () => this.#client?.now ?? Date.now(),
        chat: (peer) => this.#chat(peer), tell: this.#tell, tellChat: (chat) => this.#tellChat(chat),
      })
      for (const chat of await this.#store.chats()) this.#chats.set(chat.peer, { ...nothingYet, ...chat }) // an earlier version kept less of it
      await this.#log.restore(this.#chats.values())
      for (const chat of this.#chats.values()) {
        await this.#recount(chat)
        this.#tellChat(chat)
      }
      this.#pictures = new GroupPictures(this.#store, this.#tell)
      await this.#pictures.restore([...this.#chats.keys()].filter(isGroup))
      this.#sender = this.#newSender()
      await this.#sender.restore()
    }
    this.#anew = anew
    void this.#inTurn(async () => {
      await this.#disconnect()
      await this.#connect()
    })
  }

  #newHistory(): History {
    const person = this
    return new History(this.#store, {
      get user() { return person.#user },
      chat: (peer) => this.#chat(peer),
      keep: (chat, ...rows) => this.#keep(chat, ...rows),
      advance: (chat, delivered, read) => this.#advance(chat, delivered, read),
    })
  }

  #newSender(): Sender {
    const person = this
    return new Sender(
      {
        get user() { return person.#user },
        get client() { return person.#client },
        chat: (peer) => this.#chat(peer),
        keep: (chat, ...rows) => this.#keep(chat, ...rows),
        find: (client, peer) => this.#history.close(client, peer).catch(() => this.#history.doubt(peer)),
        caughtUp: (client) => this.#caughtUp(client),
        drop: (row) => this.#log.drop(row),
        changed: (client, row) => void this.#groups.changed(client, row),
        unchanged: (client, row) => void this.#groups.look(client, row.peer),
        state: (state, text) => this.#state(state, text),
      },
      this.#store,
      new Uploads(this.#media, this.#tell),
    )
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
    this.#looking = null
    this.#caught = false
    this.#history.doubt()
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
    this.#catches.fire()
    this.#sender.pause()
    await client?.close()
  }

  async #caughtUp(client: Client): Promise<void> {
    while (client === this.#client) {
      if (this.#caught) return
      await this.#catches.wait()
    }
    throw new ClosedError()
  }

  /** Goes on with what an earlier page left: what was not sent, and what was read. */
  async #resume(client: Client): Promise<void> {
    await this.#sender.resume(client, (peer) => this.#history.doubt(peer))
    for (const chat of this.#recent()) if (chat.mine > 0n) client.markRead(chat.peer, chat.mine)
    this.#blocks.resume(client)
  }

  async #listen(client: Client): Promise<void> {
    try {
      for await (const event of client) await this.#take(client, event)
    } catch (err) {
      if (client !== this.#client) return
      if (err instanceof ChatError && err.codeName === 'revoked') this.#state('revoked')
      else this.#state('stopped', textOf(err))
    }
  }

  async #take(client: Client, event: EncryptedEvent): Promise<void> {
    switch (event.type) {
      case 'connected':
        this.#state('online')
        this.#caught = false
        this.#watched.clear()
        for (const chat of this.#recent()) if (this.#log.last(chat.peer)) this.#watch(client, chat.peer)
        this.#sender.pumpAll()
        for (const chat of this.#chats.values()) if (chat.timer > client.maxTtlSeconds) this.#tellChat(chat)
        return
      case 'disconnected':
        if (event.error instanceof ChatError && event.error.action === 'login') this.#tokens.drop() // another device of the user's was revoked
        return this.#state('offline', event.error.message)
      case 'message':
      case 'group_message':
      case 'copy':
      case 'typed':
        return this.#received(event.message, saidOf(event)?.body ?? nothingSaid, '')
      case 'group_named':
        return this.#named(event.message, event.info)
      case 'failed':
        return this.#received(event.message, nothingSaid, whyUnreadable(event.error))
      case 'blocks':
        return this.#blocks.made(event.users, event.blocked)
      case 'left_out':
        return this.#keep(Object.assign(this.#chat(event.group), { leftOut: event.users }))
      case 'unannounced': {
        const chat = this.#chat(event.group)
        const list = event.reads ? 'unseen' : 'unannounced'
        chat[list] = [...new Set([...chat[list], event.user])]
        return this.#keep(chat)
      }
      case 'receipt': {
        if (!this.#chats.has(event.peer)) return // of keys for members of a group; they make no chat
        this.#watch(client, event.peer)
        return this.#advance(this.#chat(event.peer), event.delivered, event.read)
      }
      case 'caught_up':
        this.#caught = true
        this.#catches.fire()
        return this.#look(client)
      case 'truncated':
        this.#history.doubt()
        return
      case 'typing':
        return this.#tell({ type: 'typing', peer: event.peer, on: event.on })
      case 'presence':
        this.#tell({ type: 'presence', peer: event.peer, online: event.online, seen: event.seen })
        if (event.online) void this.#sender.pump(event.peer)
        return
      case 'identity_changed': {
        const chat = this.#chat(event.user)
        chat.changed = true
        return this.#keep(chat)
      }
      case 'link_used':
        return this.ownDevices.used(event)
      case 'linked_history':
        void this.ownDevices.handed(client, event) // it asks the server, whose answers do not wait for this
        return
      case 'problem':
        return this.#problem(client, event.id, event.error)
    }
  }

  async #received(m: Received, said: Body, note: string): Promise<void> {
    const row = rowOf(m, this.#user, said, note)
    const known = await this.#store.byId(m.id)
    if (known && known.stage !== 'failed') return
    const chat = this.#chat(row.peer)
    this.#count(chat, row)
    const { change } = row.body
    chat.leftOut = chat.leftOut.filter((user) => user !== row.from) // who writes has keys
    if (change?.verb === 'add') chat.unannounced = chat.unannounced.filter((user) => !change.users.includes(user))
    await this.#keep(chat, row)
    if (this.#client) {
      this.#watch(this.#client, row.peer)
      if (isGroup(row.peer) && (change || chat.others.length === 0)) void this.#groups.look(this.#client, row.peer)
    }
    void this.#sender.pump(row.peer)
  }

  /** Counts a message that is new to the user. Changes of a group, or of other messages, are none to be read. */
  #count(chat: ChatRow, row: Row): void {
    if (row.mine) return
    chat.top = max(chat.top, row.place)
    if (row.body.change || !counts(row.body)) return
    this.#unread.put({ from: row.from, to: isGroup(row.peer) ? row.peer : this.#user, place: row.place, suite: 1 })
    chat.unread = this.#unread.count(chat.peer)
  }

  /** Counts again what an earlier page had counted as unread. */
  async #recount(chat: ChatRow): Promise<void> {
    const [{ peer, mine, unread }, all] = [chat, this.#unread]
    all.read(peer, mine)
    for (let before = ''; all.count(peer) < unread; ) {
      const rows = await this.#store.page(peer, before, pageRows)
      for (const row of rows) this.#count(chat, row)
      if (rows.length < pageRows) break
      before = rows[0]!.order
    }
    chat.unread = all.count(peer)
  }

  /** An admin gave a group its name and picture: for who was there before they may be those that it has. */
  async #named(m: Received, info: GroupInfo): Promise<void> {
    const chat = this.#chat(m.to)
    const [name, picture] = [nameOf(info.name), info.picture]
    const pictured = await this.#pictures.take(m.to, picture)
    const change: Change = { verb: 'info', users: [], name }
    if (name === chat.name) change.picture = picture ? 'set' : 'removed'
    if (name === chat.name && !pictured) return
    chat.name = name
    await this.#keep(chat, { ...rowOf(m, this.#user, nothingSaid, ''), body: newBody({ kind: 'newer', change }) })
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
    if (row) await this.#sender.refused(client, row, error)
    else if (id) await this.#blocks.refused(client, id, error) // all else that has an id is a change of whom the user has blocked
  }

  /** This browser has the user's identity now. */
  #joined(): void {
    this.#state('online')
    this.#sender.pumpAll()
  }

  /** Reads again what was sent before this device was linked. */
  async #readAgain(client: Client): Promise<void> {
    await this.#looking
    for (const chat of this.#chats.values()) {
      const { peer } = chat
      await this.#history.again(client, peer).catch(() => this.#history.doubt(peer))
      if (!chat.timerId && client.timer(peer)) await this.#keep(Object.assign(chat, { timer: client.timer(peer) }))
      if (isGroup(peer)) void this.#groups.look(client, peer)
    }
  }

  /**
   * Asks once a connection, when the chain has been read: for chats that this device has no message of, and for what was read, and who
   * was blocked, on another one.
   */
  #look(client: Client): void {
    this.#looking ??= this.#lookAt(client).catch(() => void (this.#looking = null)) // the next connection looks again
  }

  async #lookAt(client: Client): Promise<void> {
    await this.#blocks.look(client)
    const { chats } = await client.chats(null, pageRows)
    for (const { peer, last, delivered, read, mine } of chats) {
      const chat = this.#chat(peer)
      chat.mine = max(chat.mine, mine)
      const known = await this.#store.byId(last.id)
      if (!known) {
        await this.#history.begin(client, peer)
        if (isGroup(peer)) void this.#groups.look(client, peer)
      }
      this.#watch(client, peer)
      await this.#advance(chat, delivered, read)
    }
    await client.loadUnread(this.#unread, pageRows)
    for (const chat of this.#chats.values()) {
      const unread = this.#unread.count(chat.peer)
      if (unread !== chat.unread) await this.#keep(Object.assign(chat, { unread }))
    }
  }

  #watch(client: Client, peer: string): void {
    if (isGroup(peer) || this.#watched.has(peer) || this.#watched.size >= watchedChats) return
    this.#watched.add(peer)
    client.watch(peer)
  }

  async begin(peer: string): Promise<void> {
    await this.#keep(this.#chat(peer))
  }

  async createGroup(name: string, users: string[]): Promise<string> {
    const id = await this.#connected().newId()
    const peer = groupOf(id)
    const change: Change = { verb: 'create', users, name }
    Object.assign(this.#chat(peer), { name, others: users })
    this.#groups.making(peer, change)
    await this.#sender.write(peer, newBody({ kind: 'newer', change }), id)
    return peer
  }

  async changeGroup(peer: string, verb: Change['verb'], users: string[]): Promise<void> {
    await this.#sender.write(peer, newBody({ kind: 'newer', change: { verb, users, name: '' } }))
  }

  async nameGroup(peer: string, name: string): Promise<void> {
    this.#chat(peer).name = name
    await this.#sender.write(peer, newBody({ kind: 'newer', change: { verb: 'info', users: [], name } }))
  }

  async pictureGroup(peer: string, file: File | null): Promise<void> {
    const key = crypto.randomUUID()
    const picture = file && (await shrinkForGroup(file))
    if (picture) await this.#store.putFile(key, picture)
    await this.#pictures.take(peer, picture)
    const change: Change = { verb: 'info', users: [], name: '', picture: picture ? 'set' : 'removed' }
    await this.#sender.write(peer, newBody({ kind: 'newer', change }), '', key)
  }

  async look(peer: string): Promise<void> {
    if (this.#client) await this.#groups.look(this.#client, peer)
  }

  async page(peer: string, before: string): Promise<Page> {
    const client = this.#client
    let page = await this.#log.page(peer, before, pageRows)
    if (before === '' && client) void this.#history.merge(client, peer)
    if (before !== '' && client && page.rows.length < pageRows && !this.#history.isWhole(peer)) {
      await this.#history.older(client, peer, page.rows.find((row) => row.id)?.id ?? idOfOrder(before))
      page = await this.#log.page(peer, before, pageRows)
    }
    const { length } = page.rows
    return { messages: page.messages, more: length === pageRows || (length > 0 && !this.#history.isWhole(peer)) }
  }

  async send(peer: string, text: string, target: string): Promise<void> {
    Object.assign(this.#chat(peer), { unseen: [], blockFault: '' }) // the user has been told
    await this.#sender.write(peer, newBody({ text, target: target || null }))
  }

  async change(key: string, kind: 'edit' | 'delete' | 'reaction', text: string): Promise<void> {
    const row = await this.#store.row(key)
    if (!row?.id) throw new Error('that message is not here any more')
    const drops = kind === 'delete' && row.mine ? (row.body.file?.blob ?? '') : ''
    await this.#sender.write(row.peer, newBody({ kind, text, target: row.id, drops }))
  }

  async setTimer(peer: string, seconds: number): Promise<void> {
    await this.#sender.write(peer, newBody({ kind: 'timer', seconds }))
  }

  block(peer: string, on: boolean): Promise<void> {
    return this.#blocks.want(peer, on)
  }

  async sendPicture(peer: string, file: File): Promise<void> {
    const { bytes, thumbnail } = await shrink(file)
    const key = crypto.randomUUID()
    await this.#store.putFile(key, bytes)
    const name = `${file.name.replace(/\.[^.]*$/, '') || 'picture'}.jpg`
    const about = { name, type: 'image/jpeg', thumbnail: base64(thumbnail) }
    await this.#sender.write(peer, newBody({ kind: 'file', file: { key: '', digest: '', size: bytes.length, blob: '', ...about } }), '', key)
  }

  async cancel(key: string): Promise<void> {
    const row = await this.#store.row(key)
    if (row) await this.#sender.cancel(row)
  }

  async fetch(key: string): Promise<Blob> {
    const row = await this.#store.row(key)
    const file = row?.body.file
    if (!file) throw new Error('there is no file with this message')
    const bytes = file.blob ? await this.#download(key, file) : await this.#store.file(key)
    if (!bytes) throw new Error('the picture is not in this browser any more')
    return new Blob([bytes.slice()], { type: pictureTypes.test(file.type) ? file.type : 'application/octet-stream' })
  }

  async #download(key: string, file: FileBody): Promise<Uint8Array> {
    await this.stopFetch(key)
    const abort = new AbortController()
    this.#downloads.set(key, abort)
    try {
      return await fetchFile(this.#media, file, { signal: abort.signal, progress: (done, total) => this.#tell({ type: 'progress', key, done, total }) })
    } finally {
      if (this.#downloads.get(key) === abort) this.#downloads.delete(key)
    }
  }

  async stopFetch(key: string): Promise<void> {
    this.#downloads.get(key)?.abort(new Error('it was closed'))
  }

  async shown(peer: string): Promise<void> {
    const chat = this.#chat(peer)
    if (chat.top <= chat.mine && chat.unread === 0) return
    chat.mine = max(chat.mine, chat.top)
    this.#unread.read(peer, chat.mine)
    chat.unread = 0
    this.#client?.markRead(peer, chat.mine)
    await this.#keep(chat)
  }

  async typing(peer: string, on: boolean): Promise<void> {
    if (!isGroup(peer)) this.#client?.typing(peer, on)
  }

  async safety(peer: string): Promise<{ digits: string; qr: string; verified: boolean }> {
    const { digits, qr, verified } = await this.#connected().safety(peer)
    return { digits, qr, verified }
  }

  async verify(peer: string, verified: boolean): Promise<void> {
    await this.#connected().verify(peer, verified)
  }

  async accept(peer: string): Promise<void> {
    await this.#connected().accept(peer)
    const chat = this.#chat(peer)
    chat.changed = false
    await this.#keep(chat)
    void this.#sender.pump(peer)
  }

  async forget(): Promise<void> {
    await this.#disconnect()
    await this.#store.forget()
    const { device } = this.#store
    for (const of of ['rookery', 'rookery-keys']) await requested(indexedDB.deleteDatabase(`${of}:${this.#user}:${device}`))
  }

  #connected(): Client {
    if (!this.#client) throw new Error('there is no connection')
    return this.#client
  }

  /** Keeps a chat and messages of it, then tells the page. */
  #keep(chat: ChatRow, ...rows: Row[]): Promise<void> {
    return this.#log.keep(chat, ...rows)
  }

  #tellChat(row: ChatRow): void {
    const { peer, delivered, read, unread, changed, name, out, blocked, blockFault, leftOut, unannounced, unseen } = row
    const timer = Math.min(row.timer, this.#client?.maxTtlSeconds || Infinity) // as what is sent lives
    const group = isGroup(peer)
    const [title, last] = [titleOf(row, group), this.#log.last(peer)]
    this.#tell({ type: 'chat', chat: { peer, delivered, read, unread, changed, name, out, group, title, last, blocked, blockFault, timer, leftOut, unannounced, unseen } })
  }

  #state(state: State, text = ''): void {
    this.#tell({ type: 'state', state, text })
  }

  #chat(peer: string): ChatRow {
    let chat = this.#chats.get(peer)
    if (!chat) this.#chats.set(peer, (chat = { peer, ...nothingYet, blocked: this.#blocks.has(peer) }))
    return chat
  }

  /** The chats that somebody wrote in lately. */
  #recent(): ChatRow[] {
    const at = (chat: ChatRow) => this.#log.last(chat.peer)?.at ?? 0
    return [...this.#chats.values()].sort((a, b) => at(b) - at(a)).slice(0, watchedChats)
  }
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
