import { type Client, counts, isGroup, suiteMegolm, Unread } from '../../../sdk/js/src/index.ts'
import { max, pageRows } from './history.ts'
import type { ChatRow, Row, Store } from './store.ts'

/** Counts what the user has not read, from what came and, once a connection, from the server's watermarks. */
export class Unreads {
  readonly #user: string
  readonly #store: Store
  readonly #all: Unread

  constructor(user: string, store: Store) {
    this.#user = user
    this.#store = store
    this.#all = new Unread(user)
  }

  /** Counts a message that is new to the user. Changes of a group, or of other messages, are none to be read. */
  count(chat: ChatRow, row: Row): void {
    if (row.mine) return
    chat.top = max(chat.top, row.place)
    if (row.body.change || !counts(row.body)) return
    this.#all.put({ from: row.from, to: isGroup(row.peer) ? row.peer : this.#user, place: row.place, suite: suiteMegolm })
    chat.unread = this.#all.count(chat.peer)
  }

  /** Counts again what an earlier page had counted. */
  async recount(chat: ChatRow): Promise<void> {
    const [{ peer, mine, unread }, all] = [chat, this.#all]
    all.read(peer, mine)
    for (let before = ''; all.count(peer) < unread; ) {
      const rows = await this.#store.page(peer, before, pageRows)
      for (const row of rows) this.count(chat, row)
      if (rows.length < pageRows) break
      before = rows[0]!.order
    }
    chat.unread = all.count(peer)
  }

  /** The user has been shown all of a chat. Reports whether that is new. */
  read(chat: ChatRow): boolean {
    if (chat.top <= chat.mine && chat.unread === 0) return false
    chat.mine = max(chat.mine, chat.top)
    this.#all.read(chat.peer, chat.mine)
    chat.unread = 0
    return true
  }

  /** Takes in what the server has as unread, and returns the chats of some whose count changes, with it. */
  async load(client: Client, chats: Iterable<ChatRow>): Promise<ChatRow[]> {
    await client.loadUnread(this.#all, pageRows)
    const changed: ChatRow[] = []
    for (const chat of chats) {
      const unread = this.#all.count(chat.peer)
      if (unread !== chat.unread) changed.push(Object.assign(chat, { unread }))
    }
    return changed
  }
}
