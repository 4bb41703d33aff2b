import { base64, ChatError, Client, groupOf, isGroup, Media, StateError } from '../../../sdk/js/src/index.ts'
import { requested } from '../../../sdk/js/src/idb.ts'
import type { Calls, Change, DeviceCalls, News, Page, State } from '../talk.ts'
import { Blocks } from './blocks.ts'
import { CatchUp } from './catchup.ts'
import { Devices } from './devices.ts'
import { Events } from './events.ts'
import { Groups, titleOf } from './groups.ts'
import { History, max, pageRows } from './history.ts'
import { Log } from './log.ts'
import { Downloads, Uploads } from './media.ts'
import { shrink, shrinkForGroup } from './picture.ts'
import { GroupPictures } from './pictures.ts'
import { idOfOrder } from './rows.ts'
import { Sender } from './sender.ts'
import { ask, type Config, SiteError, Tokens } from './site.ts'
import { type ChatRow, newBody, type Row, Store } from './store.ts'
import { Unreads } from './unreads.ts'

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
  #unreads!: Unreads
  #tokens!: Tokens
  #downloads!: Downloads
  #pictures!: GroupPictures
  #sender!: Sender
  #catchUp!: CatchUp
  #events!: Events
  readonly #groups: Groups
  readonly #blocks: Blocks
  #client: Client | null = null
  #flying = false
  #turn: Promise<void> = Promise.resolve()
  readonly #chats = new Map<string, ChatRow>()
  #history!: History

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
      given: (client) => this.#catchUp.again(client),
      revoked: () => this.#tokens.drop(),
    })
  }

  async open(user: string, anew: boolean): Promise<void> {
    if (this.#user === '') {
      this.#user = user
      this.#tokens = new Tokens(user)
      this.#store = await Store.open(user)
      this.#log = new Log(this.#store, {
        now: () => this.#client?.now ?? Date.now(),
        chat: (peer) => this.#chat(peer), tell: this.#tell, tellChat: (chat) => this.#tellChat(chat),
      })
      this.#unreads = new Unreads(user, this.#store)
      for (const chat of await this.#store.chats()) this.#chats.set(chat.peer, { ...nothingYet, ...chat }) // an earlier version kept less of it
      await this.#log.restore(this.#chats.values())
      for (const chat of this.#chats.values()) {
        await this.#unreads.recount(chat)
        this.#tellChat(chat)
      }
      this.#pictures = new GroupPictures(this.#store, this.#tell)
      await this.#pictures.restore([...this.#chats.keys()].filter(isGroup))
      this.#assemble(new Media('', (refused) => this.#tokens.get(refused)))
      await this.#sender.restore()
    }
    this.#anew = anew
    void this.#inTurn(async () => {
      await this.#disconnect()
      await this.#connect()
    })
  }

  /** Makes what works over a connection. */
  #assemble(media: Media): void {
    const person = this
    const [user, store, log, groups, blocks, chats] = [this.#user, this.#store, this.#log, this.#groups, this.#blocks, this.#chats]
    const chat = (peer: string) => this.#chat(peer)
    const keep = (chat: ChatRow, ...rows: Row[]) => this.#keep(chat, ...rows)
    const advance = (chat: ChatRow, delivered: bigint, read: bigint) => this.#advance(chat, delivered, read)
    const history = new History(store, { user, chat, keep, advance })
    const late = { store, log, history, groups, blocks, unreads: this.#unreads, chats, chat, keep, advance }
    const catchUp = new CatchUp(late)
    const writer = {
      user, chat, keep,
      get client() { return person.#client },
      find: (client: Client, peer: string) => history.close(client, peer).catch(() => history.doubt(peer)),
      caughtUp: (client: Client) => catchUp.untilCaughtUp(client),
      drop: (row: Row) => log.drop(row),
      changed: (client: Client, row: Row) => void groups.changed(client, row),
      unchanged: (client: Client, row: Row) => void groups.look(client, row.peer),
      state: (state: State, text: string) => this.#state(state, text),
    }
    const sender = new Sender(writer, store, new Uploads(media, this.#tell))
    this.#events = new Events({
      ...late, user, catchUp, sender, pictures: this.#pictures, devices: this.ownDevices,
      tell: this.#tell, tellChat: (chat) => this.#tellChat(chat), loggedOut: () => this.#tokens.drop(),
    })
    this.#history = history
    this.#catchUp = catchUp
    this.#sender = sender
    this.#downloads = new Downloads(media, this.#tell)
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
    this.#catchUp.use(client)
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
    this.#catchUp.use(null)
    this.#sender.pause()
    await client?.close()
  }

  /** Goes on with what an earlier page left: what was not sent, and what was read. */
  async #resume(client: Client): Promise<void> {
    await this.#sender.resume(client, (peer) => this.#history.doubt(peer))
    for (const chat of this.#catchUp.recent()) if (chat.mine > 0n) client.markRead(chat.peer, chat.mine)
    this.#blocks.resume(client)
  }

  async #listen(client: Client): Promise<void> {
    try {
      for await (const event of client) await this.#events.take(client, event)
    } catch (err) {
      if (client !== this.#client) return
      if (err instanceof ChatError && err.codeName === 'revoked') this.#state('revoked')
      else this.#state('stopped', textOf(err))
    }
  }

  /** Watermarks of a chat may have moved. */
  async #advance(chat: ChatRow, delivered: bigint, read: bigint): Promise<void> {
    if (delivered <= chat.delivered && read <= chat.read) return
    chat.delivered = max(chat.delivered, delivered)
    chat.read = max(chat.read, read)
    await this.#keep(chat)
  }

  /** This browser has the user's identity now. */
  #joined(): void {
    this.#state('online')
    this.#sender.pumpAll()
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
    const bytes = file.blob ? await this.#downloads.fetch(key, file) : await this.#store.file(key)
    if (!bytes) throw new Error('the picture is not in this browser any more')
    return new Blob([bytes.slice()], { type: pictureTypes.test(file.type) ? file.type : 'application/octet-stream' })
  }

  async stopFetch(key: string): Promise<void> {
    this.#downloads.stop(key)
  }

  async shown(peer: string): Promise<void> {
    const chat = this.#chat(peer)
    if (!this.#unreads.read(chat)) return
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

}

function textOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
