import { type Client, ClosedError, isGroup } from '../../../sdk/js/src/index.ts'
import { Notifier } from '../../../sdk/js/src/notifier.ts'
import type { Blocks } from './blocks.ts'
import type { Groups } from './groups.ts'
import { type History, max, pageRows } from './history.ts'
import type { Log } from './log.ts'
import type { ChatRow, Store } from './store.ts'
import type { Unreads } from './unreads.ts'

/** Chats whose users are watched. The server lets a session watch 256. */
const watchedChats = 128

/** What is needed of who catches up. */
export interface Late {
  readonly store: Store
  readonly log: Log
  readonly history: History
  readonly groups: Groups
  readonly blocks: Blocks
  readonly unreads: Unreads
  readonly chats: ReadonlyMap<string, ChatRow>
  chat(peer: string): ChatRow
  keep(chat: ChatRow): Promise<void>
  advance(chat: ChatRow, delivered: bigint, read: bigint): Promise<void>
}

/** What a connection is asked for beside its events: who is here, and what this browser has not. */
export class CatchUp {
  readonly #late: Late
  #client: Client | null = null
  #watched = new Set<string>()
  #looking: Promise<void> | null = null
  /** What waited for this device has come, and who waits for that. */
  #caught = false
  readonly #catches = new Notifier()

  constructor(late: Late) {
    this.#late = late
  }

  /** There is another client now; null: none. */
  use(client: Client | null): void {
    this.#client = client
    this.#watched = new Set()
    this.#looking = null
    this.#caught = false
    this.#catches.fire()
  }

  /** The client is connected, once more or for the first time. */
  connected(client: Client): void {
    this.#caught = false
    this.#watched.clear()
    for (const { peer } of this.recent()) if (this.#late.log.last(peer)) this.watch(client, peer)
  }

  /** The chain has been read. */
  caughtUp(client: Client): void {
    this.#caught = true
    this.#catches.fire()
    this.#looking ??= this.#look(client).catch(() => void (this.#looking = null)) // the next connection looks again
  }

  /** Returns when the chain has been read. Throws when the client is not the one in use any more. */
  async untilCaughtUp(client: Client): Promise<void> {
    while (client === this.#client) {
      if (this.#caught) return
      await this.#catches.wait()
    }
    throw new ClosedError()
  }

  /** Asks to be told when a user comes and goes. */
  watch(client: Client, peer: string): void {
    if (isGroup(peer) || this.#watched.has(peer) || this.#watched.size >= watchedChats) return
    this.#watched.add(peer)
    client.watch(peer)
  }

  /** The chats that somebody wrote in lately. */
  recent(): ChatRow[] {
    const at = (chat: ChatRow) => this.#late.log.last(chat.peer)?.at ?? 0
    return [...this.#late.chats.values()].sort((a, b) => at(b) - at(a)).slice(0, watchedChats)
  }

  /** Reads again what was sent before this device was linked. */
  async again(client: Client): Promise<void> {
    await this.#looking
    const { chats, history, groups, keep } = this.#late
    for (const chat of chats.values()) {
      const { peer } = chat
      await history.again(client, peer).catch(() => history.doubt(peer))
      if (!chat.timerId && client.timer(peer)) await keep(Object.assign(chat, { timer: client.timer(peer) }))
      if (isGroup(peer)) void groups.look(client, peer)
    }
  }

  /** Looks for chats that this device has no message of, and for what was read, and who was blocked, on another one. */
  async #look(client: Client): Promise<void> {
    const { store, history, groups, blocks, unreads, keep } = this.#late
    await blocks.look(client)
    const { chats } = await client.chats(null, pageRows)
    for (const { peer, last, delivered, read, mine } of chats) {
      const chat = this.#late.chat(peer)
      chat.mine = max(chat.mine, mine)
      if (!(await store.byId(last.id))) {
        await history.begin(client, peer)
        if (isGroup(peer)) void groups.look(client, peer)
      }
      this.watch(client, peer)
      await this.#late.advance(chat, delivered, read)
    }
    for (const chat of await unreads.load(client, this.#late.chats.values())) await keep(chat)
  }
}
