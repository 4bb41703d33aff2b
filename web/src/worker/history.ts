import { bodyOf, type Body as Said, type Client, isGroup, type Message as Received, type SaidPage } from '../../../sdk/js/src/index.ts'
import { isChange, rowOf } from './rows.ts'
import type { ChatRow, Row, Store } from './store.ts'

/** Messages of a page. */
export const pageRows = 50
/** Pages of history that are read to close a gap, or until there is an older message. */
const gapPages = 10
/** Messages that are read of a chat which is not known here, to have one for the list. */
const firstRows = 10

/** What a message says that says nothing. */
export const nothingSaid = bodyOf('newer')

export const max = (a: bigint, b: bigint) => (a > b ? a : b)

/** Who takes what is read of history. */
export interface Reader {
  readonly user: string
  chat(peer: string): ChatRow
  keep(chat: ChatRow, ...rows: Row[]): Promise<void>
  advance(chat: ChatRow, delivered: bigint, read: bigint): Promise<void>
}

/** What the server keeps of chats and this browser does not have, or could not read. */
export class History {
  readonly #store: Store
  readonly #reader: Reader
  /** Chats that were compared with the server's over this connection. */
  readonly #merged = new Set<string>()
  /** Chats whose oldest message is here. */
  readonly #whole = new Set<string>()

  constructor(store: Store, reader: Reader) {
    this.#store = store
    this.#reader = reader
  }

  /** A chat may have what this browser has not; by default any may. */
  doubt(peer?: string): void {
    if (peer === undefined) this.#merged.clear()
    else this.#merged.delete(peer)
  }

  /** The oldest message of a chat is here. */
  isWhole(peer: string): boolean {
    return this.#whole.has(peer)
  }

  /** Takes what this browser does not have, back to what it has: once for a chat, unless there is doubt. */
  async merge(client: Client, peer: string): Promise<void> {
    if (this.#merged.has(peer)) return
    this.#merged.add(peer)
    try {
      await this.close(client, peer)
    } catch {
      this.#merged.delete(peer) // the next who looks tries again
    }
  }

  /** The same, in any case. */
  async close(client: Client, peer: string): Promise<void> {
    for (let n = 0, before: string | null = null; n < gapPages; n++) {
      const page: SaidPage = await client.saidBefore(peer, before, pageRows)
      const { known } = await this.#keepPage(page)
      if (page.next === null || known) return
      before = page.next
    }
  }

  /** Takes the newest of a chat, to have one for the list. */
  async begin(client: Client, peer: string): Promise<void> {
    await this.#keepPage(await client.saidBefore(peer, null, firstRows))
  }

  /** Takes what is older than a message, until there is something to show. */
  async older(client: Client, peer: string, before: string | null): Promise<void> {
    for (let n = 0; n < gapPages; n++) {
      const page: SaidPage = await client.saidBefore(peer, before, pageRows)
      const { shown } = await this.#keepPage(page)
      if (page.next === null || shown > 0) return
      before = page.next
    }
  }

  /** Reads again what is here of a chat, as this device was given keys. */
  async again(client: Client, peer: string): Promise<void> {
    for (let before: string | null = null; ; ) {
      const page: SaidPage = await client.saidBefore(peer, before, pageRows)
      const { known } = await this.#keepPage(page)
      if (page.next === null || !known) return
      before = page.next
    }
  }

  /** Keeps what is new of a page, or can be read now, and reports how many messages that shows, and whether some were known. */
  async #keepPage(page: SaidPage): Promise<{ shown: number; known: boolean }> {
    const { peer } = page
    const { user, chat: chatOf, keep, advance } = this.#reader
    const [group, chat] = [isGroup(peer), chatOf(peer)]
    const news: Row[] = []
    let known = false
    const take = async (m: Received, said: Said) => {
      const row = await this.#store.byId(m.id)
      known ||= row !== null
      // Of a group history has names, and what was said before the user came: nothing to show.
      if (!row && group && !m.content) return
      if (!row || (row.stage === 'failed' && m.content)) news.push(rowOf(m, user, said, m.content ? '' : 'This cannot be read here: its key is on other devices only.'))
      else if (row.mine && row.place !== m.place && row.stage === 'done') news.push({ ...row, place: m.place })
    }
    for (const [i, m] of page.messages.entries()) await take(m, page.bodies[i]!)
    for (const m of page.changes) await take(m, nothingSaid)
    for (const row of news) if (!row.mine) chat.top = max(chat.top, row.place)
    if (news.length > 0) await keep(chat, ...news)
    await advance(chat, page.delivered, page.read)
    if (page.next === null) this.#whole.add(peer)
    return { shown: news.filter((row) => !isChange(row)).length, known }
  }
}
