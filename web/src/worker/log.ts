import { compareIds } from '../../../sdk/js/src/index.ts'
import type { Message, News } from '../talk.ts'
import { carry, changeBy, holds, isChange, viewOf } from './rows.ts'
import type { ChatRow, Row, Store } from './store.ts'

/** The longest wait for the next message that disappears: clocks are set, and computers sleep. */
const sweepMaxMs = 60_000

/** What a log needs of whose it is. */
export interface Owner {
  /** The server's time, ms since 1970. */
  now(): number
  tell(news: News): void
  /** Tells of a chat. */
  tellChat(chat: ChatRow): void
  chat(peer: string): ChatRow
}

/**
 * The messages of all chats as they are kept and shown: with the replies, edits, deletions and reactions of each, in whatever order
 * they came, until they disappear. What is read and written again is so one at a time.
 */
export class Log {
  readonly #store: Store
  readonly #owner: Owner
  readonly #last = new Map<string, Message>()
  /** Changes of messages that the user made and that are not sent yet, by what they change. */
  readonly #waiting = new Map<string, Row[]>()
  #turn: Promise<unknown> = Promise.resolve()
  #sweep: { at: number; timer: number } | null = null

  constructor(store: Store, owner: Owner) {
    this.#store = store
    this.#owner = owner
  }

  /** Takes up what an earlier page kept. */
  async restore(chats: Iterable<ChatRow>): Promise<void> {
    for (const row of await this.#store.unsent()) if (isChange(row)) this.#await(row)
    for (const { peer } of chats) await this.#findLast(peer)
    await this.#inTurn(() => this.#expire())
  }

  /** The newest message of a chat. */
  last(peer: string): Message | null {
    return this.#last.get(peer) ?? null
  }

  /** Messages of a chat, as {@link Store.page} has them. */
  async page(peer: string, before: string, n: number): Promise<{ rows: Row[]; messages: Message[] }> {
    const rows = await this.#store.page(peer, before, n)
    return { rows, messages: await Promise.all(rows.map((row) => this.#view(row))) }
  }

  /** Keeps a chat and messages of it, and what they change, then tells the page. */
  keep(chat: ChatRow, ...rows: Row[]): Promise<void> {
    return this.#inTurn(() => this.#keep(chat, rows))
  }

  /** Takes a message back that was not sent. */
  drop({ key, peer }: Row): Promise<void> {
    return this.#inTurn(async () => {
      await this.#store.drop(key)
      await this.#gone(peer, [key])
    })
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(act)
    this.#turn = done.catch(() => {})
    return done
  }

  async #keep(chat: ChatRow, given: Row[]): Promise<void> {
    const rows = given.filter(({ ends, stage }) => !ends || ends > this.#owner.now() || stage === 'waiting' || stage === 'outbox')
    const changed = new Map<string, Row>() // messages
    const wiped = new Map<string, Row>() // changes whose words are not needed any more
    for (const row of rows) {
      if (isChange(row)) continue
      const kept = await this.#store.row(row.key)
      if (kept) carry(row, kept)
      changed.set(row.id || row.key, row)
      if (row.id && (!kept || kept.stage === 'failed')) await this.#change(row, (await this.#store.changesOf(row.id)).filter(holds), wiped)
      takeTimer(chat, row)
    }
    for (const row of rows) {
      if (!isChange(row)) continue
      this.#await(row)
      const target = changed.get(row.body.target!) ?? (await this.#store.byId(row.body.target!))
      if (!target || target.peer !== row.peer || isChange(target)) continue
      if (holds(row)) await this.#change(target, [row], wiped)
      else if (row.stage === 'failed') target.body.note = `Not changed: ${row.body.note}`
      changed.set(target.id, target)
    }
    const puts = new Map([...rows, ...changed.values(), ...wiped.values()].map((row) => [row.key, row]))
    await this.#store.put(chat, ...puts.values())
    for (const row of changed.values()) this.#tell(await this.#view(row))
    for (const { ends } of rows) this.#plan(ends)
    this.#owner.tellChat(chat)
  }

  /** Has rows change a message. The words of a change are not kept beside it, and with a deletion no words at all. */
  async #change(target: Row, by: Row[], wiped: Map<string, Row>): Promise<void> {
    const deleted = target.body.deleted
    for (const row of by) if (changeBy(target, row)) wiped.set(row.key, row)
    if (target.body.deleted) {
      const all = deleted ? by : [...by, ...(await this.#store.changesOf(target.id))]
      for (const row of all) if (holds(row) && !wiped.has(row.key)) wiped.set(row.key, row)
    }
    for (const row of wiped.values()) row.body.text = ''
  }

  /** Notes a change that waits to be sent, or that it does not any more. */
  #await(row: Row): void {
    const target = row.body.target!
    const others = (this.#waiting.get(target) ?? []).filter((each) => each.key !== row.key)
    if (row.stage === 'waiting') others.push(row)
    if (others.length > 0) this.#waiting.set(target, others)
    else this.#waiting.delete(target)
  }

  async #view(row: Row): Promise<Message> {
    const { target } = row.body
    const quoted = target ? await this.#store.byId(target) : null
    return viewOf(row, quoted?.peer === row.peer ? quoted : null, this.#waiting.get(row.id))
  }

  #tell(message: Message): void {
    const last = this.#last.get(message.peer)
    if (!last || last.key === message.key || last.order < message.order) this.#last.set(message.peer, message)
    this.#owner.tell({ type: 'message', message })
  }

  async #findLast(peer: string): Promise<void> {
    const { messages: [last] } = await this.page(peer, '', 1)
    if (last) this.#last.set(peer, last)
    else this.#last.delete(peer)
  }

  /** Looks for what disappears no later than at a time; 0: nothing does. */
  #plan(at: number): void {
    if (!at || (this.#sweep && this.#sweep.at <= at)) return
    clearTimeout(this.#sweep?.timer)
    const wait = Math.min(Math.max(at - this.#owner.now(), 0), sweepMaxMs)
    this.#sweep = { at, timer: self.setTimeout(() => void this.#inTurn(() => this.#expire()), wait) }
  }

  async #expire(): Promise<void> {
    this.#sweep = null
    const { gone, next } = await this.#store.sweep(this.#owner.now())
    for (const peer of new Set(gone.map((each) => each.peer))) {
      await this.#gone(peer, gone.filter((each) => each.peer === peer).map((each) => each.key))
    }
    this.#plan(next)
  }

  async #gone(peer: string, keys: string[]): Promise<void> {
    await this.#findLast(peer)
    this.#owner.tell({ type: 'gone', peer, keys })
    this.#owner.tellChat(this.#owner.chat(peer))
  }
}

/** The newest timer of a chat holds. */
function takeTimer(chat: ChatRow, row: Row): void {
  if (row.body.kind !== 'timer' || !holds(row) || (chat.timerId && compareIds(row.id, chat.timerId) <= 0)) return
  Object.assign(chat, { timer: row.body.seconds, timerId: row.id })
}
