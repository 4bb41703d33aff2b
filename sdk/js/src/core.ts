import { ChatError, ClosedError, StateError } from './errors.ts'
import type { Message } from './events.ts'
import { Clock, maxClockSequence, type MessageId, msOfId, ticksOfId } from './id.ts'
import { Inbox } from './inbox.ts'
import { freshState, type Journal, type JournalState } from './journal.ts'
import { Notifier } from './notifier.ts'
import { isGroup, type Settings } from './options.ts'
import { type Item, Outbox } from './outbox.ts'
import { Backoff } from './pace.ts'
import { decodePackets, encodePacket, retryFlag } from './packets.ts'
import { Recorder } from './recorder.ts'
import type { PacketFields, PacketName, Row } from './schema.ts'
import { Peer, Sent } from './sent.ts'
import { type Ending, Session } from './session.ts'

/** For how many accepted sends an outcome that comes later still finds its Sent; for older ones it is a problem. */
const outcomesKept = 4096

/** After how many refused tokens in a row the client ends. */
const refusedLogins = 2

/** Bounds the packets that wait to go with the next message: typing and the like. */
const soonBytesMax = 16 << 10

/** A question that waits for its answer; it is asked again in each session until it has one. */
export interface Request {
  readonly encode: (req: bigint) => Uint8Array
  /** A key of the welcome's limits: a server without it does not serve this. */
  readonly limit: string
  readonly answer: (result: unknown, error?: Error) => void
  asked: boolean
}

/** What a client is between its methods and its sessions. */
export class Core {
  readonly settings: Settings
  readonly recorder: Recorder
  readonly inbox: Inbox
  readonly outbox = new Outbox()
  readonly sequence: number
  /** A waiter should look again. */
  readonly changed = new Notifier()
  /** Aborted when no session may go on. */
  readonly over = new AbortController()
  readonly reads = new Map<string, bigint>()
  readonly watched = new Set<string>()
  readonly requests = new Map<bigint, Request>()
  /** Why no session will follow. */
  end: Error | null = null
  closing = false
  /** null when not connected. */
  session: Session | null = null
  clock: Clock | null = null
  node = ''
  ticks = 0n
  /** The server's clock minus ours. */
  offsetMs = 0
  /** Of a content, as the server said; 0 is not known. */
  maxContentBytes = 0n
  /** Of a message, as the server said; 0 is not known. */
  maxTtlSeconds = 0
  lastReq = 0n
  /** Makes durable what is kept of the messages handled, before the cursor says so. */
  beforeMark: (() => Promise<void>) | null = null
  /** What this device sent to groups comes as copies too, in its place among what others sent. */
  ownInGroups = false
  /** The server has few one-time keys of this device. */
  keysLow: (() => void) | null = null
  soon: Uint8Array[] = []
  soonBytes = 0
  readonly #peers = new Map<string, Peer>()
  readonly #accepted = new Map<MessageId, Sent>()
  #keeping = false

  private constructor(settings: Settings, journal: Journal, state: JournalState) {
    this.settings = settings
    this.sequence = state.sequence
    this.inbox = new Inbox(settings.eventQueue, settings.sendOnly, () => void this.keepSoon())
    this.recorder = new Recorder(journal, (failed) => (failed ? this.finish(failed) : this.session?.wake()))
    this.#restore(state)
  }

  /** Opens the journal and begins a state where there is none. */
  static async open(settings: Settings, journal: Journal): Promise<Core> {
    let state = await journal.open(settings.user, settings.device)
    try {
      if (!state) {
        state = freshState(crypto.getRandomValues(new Uint16Array(1))[0]! & maxClockSequence)
        await journal.commit([{ kind: 'begin', sequence: state.sequence }])
      }
      return new Core(settings, journal, state)
    } catch (err) {
      await journal.close()
      throw err
    }
  }

  #restore(state: JournalState): void {
    this.node = state.node
    this.offsetMs = state.offsetMs
    this.ticks = state.ticks
    if (this.node) this.#newClock()
    if (this.settings.from === 'last' && state.cursor !== null) this.inbox.restore(state.cursor)
    for (const { id, packet } of state.outbox) {
      const [fields] = decodePackets(packet)
      if (fields?.type !== 'send') throw new StateError(`the journal's message ${id} is no send`)
      fields.flags |= retryFlag
      this.#push(id, fields, 0, packet.length)
    }
  }

  #newClock(): void {
    this.clock = new Clock(this.node, this.sequence, this.ticks)
  }

  /** Makes later ids greater than one received. */
  see(id: MessageId | null): void {
    if (!id) return
    const ticks = ticksOfId(id)
    if (ticks > this.ticks) this.ticks = ticks
    this.clock?.see(id)
  }

  /** The time by the server's clock, ms since 1970, as far as it is known. */
  get now(): number {
    return Date.now() + this.offsetMs
  }

  /** Sets our clock by the server's, which is never ahead of what it said by more than the way here took. */
  correct(serverMs: bigint): void {
    this.offsetMs = Number(serverMs) - Date.now()
  }

  /** Takes in what the welcome says of this device. */
  identify(node: string, serverMs: bigint): void {
    this.correct(serverMs)
    if (node !== this.node || !this.clock) {
      this.node = node
      this.#newClock()
    }
    this.recorder.append({ kind: 'node', node, offsetMs: this.offsetMs })
  }

  /** Names a message and puts it into the journal and the outbox, in the same order. The clock is known. */
  enqueue(fields: PacketFields<'send'>, seal: ((id: MessageId) => Uint8Array) | null): Item {
    const id = fields.id ?? this.clock!.next(this.now)
    if (fields.id !== null) fields.flags |= retryFlag // the server looks whether it has it
    if (seal) fields.content = seal(id)
    if (this.maxContentBytes > 0n && fields.content!.length > this.maxContentBytes) {
      throw new ChatError('too_large', `the content has ${fields.content!.length} bytes, the server takes ${this.maxContentBytes}: send it as media`)
    }
    if (ticksOfId(id) > this.ticks) this.ticks = ticksOfId(id)
    fields.id = id
    const packet = encodePacket('send', fields)
    return this.#push(id, fields, this.recorder.append({ kind: 'put', id, packet }), packet.length)
  }

  #push(id: MessageId, fields: PacketFields<'send'>, sequence: number, bytes: number): Item {
    const sent = new Sent(id, fields.to, this.peer(fields.to), () => this.end)
    const item = { sent, fields, sequence, bytes, n: 0, settled: false, outcome: null }
    this.outbox.push(item)
    return item
  }

  /** Returns what is kept of a user: one entry for each that this client has to do with, as long as it lives. */
  peer(name: string): Peer {
    let peer = this.#peers.get(name)
    if (!peer) this.#peers.set(name, (peer = new Peer()))
    return peer
  }

  /** Settles an item as accepted. Its drop need not be durable: who comes back is a retry, which changes nothing. */
  durable(item: Item, place: bigint): void {
    const { sent } = item
    this.recorder.append({ kind: 'drop', id: sent.id })
    sent.settle(item.outcome?.place || place, item.outcome?.error)
    this.#accepted.set(sent.id, sent)
    if (this.#accepted.size > outcomesKept) this.#accepted.delete(this.#accepted.keys().next().value!)
  }

  /** Settles an item as refused for good. */
  reject(item: Item, error: Error): void {
    this.recorder.append({ kind: 'drop', id: item.sent.id })
    item.sent.settle(0n, error)
    this.inbox.tell({ type: 'problem', id: item.sent.id, error })
  }

  /**
   * Takes in where a message of this device lies, or why it lies nowhere, as the owner of its receiver says. That may come
   * before the acceptance, which knows less: a place in an epoch that has ended, or that of a retry.
   */
  outcome(id: MessageId | null, place: bigint, error: Error | null = null): void {
    const sent = id ? this.#accepted.get(id) : undefined
    if (sent && !error) return sent.settle(place)
    const items = this.outbox.items.filter((item) => item.sent.id === id)
    const newest = items.at(-1)
    // Of an id that was used again it is the newest that is refused; what was accepted is older than what waits.
    if (error && newest) newest.outcome = { place, error }
    else if (sent) sent.settle(place, error)
    else for (const item of items) item.outcome = { place, error }
  }

  /** Makes a message of a row in the chat with peer. */
  messageOf(row: Row, peer: string): Message {
    this.see(row.id)
    const { user } = this.settings
    const id = row.id ?? ''
    return {
      id,
      from: row.from,
      to: row.from === user || isGroup(peer) ? peer : user,
      place: row.place,
      at: msOfId(id) + Number(row.late),
      expires: Number(row.expires),
      suite: row.suite,
      content: row.content ?? new Uint8Array(),
      media: row.media,
    }
  }

  /** Puts a small packet into the next message. Without a session, or when too many wait, it is lost. */
  say<N extends PacketName>(name: N, fields: Partial<PacketFields<N>>): void {
    if (!this.session || this.soonBytes >= soonBytesMax) return
    const packet = encodePacket(name, fields)
    this.soon.push(packet)
    this.soonBytes += packet.length
    this.session.wake()
  }

  /** Hands an answer to who waits for it, and reports whether anybody does. */
  answer(req: bigint, result: unknown, error?: Error): boolean {
    const request = this.requests.get(req)
    if (!request) return false
    this.requests.delete(req)
    request.answer(result, error)
    this.session?.wake() // another one may go
    return true
  }

  /** Makes the cursor durable when it has moved on, as often as the journal allows, and has it marked. */
  async keepSoon(): Promise<void> {
    if (this.#keeping) return
    this.#keeping = true
    try {
      while (await this.keep()) this.session?.wake()
    } catch {
      // The recorder has ended the client for it.
    } finally {
      this.#keeping = false
    }
  }

  /** Makes the cursor durable once, and reports whether it had moved. */
  async keep(): Promise<boolean> {
    const { inbox, recorder } = this
    const pos = inbox.handled
    if (pos === inbox.kept) return false
    await this.beforeMark?.()
    await recorder.sync(recorder.append({ kind: 'cursor', cursor: pos, ticks: this.ticks }))
    if (inbox.handled >= pos) inbox.kept = pos // or the server has forgotten it meanwhile
    return true
  }

  /** Holds sessions, one after another, until the client ends. first hears how the first attempt went. */
  async run(first: (error: Error | null) => void): Promise<void> {
    const { settings } = this
    const backoff = new Backoff(settings.backoffMinMs, settings.backoffMaxMs)
    let logins = 0
    let base = settings.url
    while (!this.closing && !this.end) {
      const began = performance.now()
      const session = new Session(this, base, () => first(null))
      const ending = await session.run()
      if (!session.welcomed) first(ending.error)
      if (this.closing || this.end) break
      logins = session.welcomed ? 0 : logins
      logins = ending.error instanceof ChatError && ending.error.action === 'login' ? logins + 1 : 0
      if (ending.stop || logins === refusedLogins) {
        this.finish(ending.error)
        return
      }
      // Where we were sent to counts for one connection: if it does not answer, the next is the place configured.
      base = base === settings.url || session.welcomed ? ending.url || settings.url : settings.url
      await this.#pause(ending, ending.now ? 0 : backoff.nextMs(session.welcomed ? performance.now() - began : 0, ending.waitMs))
    }
    this.finish(new ClosedError())
  }

  async #pause(ending: Ending, waitMs: number): Promise<void> {
    this.inbox.tell({ type: 'disconnected', error: ending.error, retryInMs: waitMs })
    await sleep(waitMs, this.over.signal)
  }

  /** Ends the client for a reason. The first one counts. */
  finish(error: Error): void {
    if (this.end) return
    this.end = error
    this.over.abort(error)
    for (const request of this.requests.values()) request.answer(null, error)
    this.requests.clear()
    this.changed.fire()
    this.inbox.ready.fire()
    for (const peer of this.#peers.values()) peer.moved.fire()
  }
}

/** Returns after a time, or when the signal is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done)
  })
}
