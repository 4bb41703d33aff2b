// A small client of the Rookery protocol, written from docs/protocol.md alone.
// Numbers in comments are sections of that document.
import { randomInt } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { encode } from '@msgpack/msgpack'
import WebSocket from 'ws'
import { decode, hex, makeId, ticksOf } from './packets.js'

const UNIX = 0x01b21dd213814000n // 1970 in ticks of 100 ns since 1582 (4.2)
const RETRY = new Set([1, 2, 105]) // codes whose action is retry (12)
const MARK_AFTER = 100 // ms (7.3)
const JOIN = 65536 // bytes that are enough for one message; with one more send it is still below the limit

const max = (a, b) => (a > b ? a : b)

/** What an installation keeps on disk; here it is memory that outlives a connection. */
export class Store {
  seq = randomInt(1 << 14)
  last = 0n // ticks of the newest id made or seen
  mine = null // position
  outbox = new Map() // hex id: send, in the order of ids
  receipts = new Map() // peer: { delivered, read }

  constructor(device) {
    this.device = device
  }

  receipt(peer) {
    return this.receipts.get(peer) ?? { delivered: 0n, read: 0n }
  }
}

/** One session. Make it with `await Client.open(...)`. Emits 'change' after each message of packets, and at the end. */
export class Client extends EventEmitter {
  welcome = null
  bye = null
  closed = null // the close code
  unread = [] // packets that no wait() has taken yet
  #next = 1 // n of the next send
  #flying = new Map() // n: send without an answer
  #waiting = [] // sends without an n yet, or again
  #window = Infinity // how many may fly
  #paused = false // a refused send waits for its retry
  #sent = new Map() // hex id: send, of this session
  #requests = 0
  #unmarked = 0
  #out = []

  constructor(ws, store) {
    super()
    this.ws = ws
    this.store = store
    ws.on('message', (data) => this.#receive(data))
    ws.on('error', () => {}) // a close comes after it
    ws.on('close', (code) => {
      this.closed = code
      this.emit('change')
    })
  }

  /** The token goes in as from a browser, which sets no headers. */
  static async open(url, user, token, store) {
    const ws = new WebSocket(`${url}/ws/${user}`, ['rookery.v1', `rookery.token.${token}`], { perMessageDeflate: false })
    await once(ws, 'open')
    const client = new Client(ws, store)
    client.#put(1, 1, store.device, store.seq, store.mine)
    await client.until(() => client.welcome)
    for (const send of store.outbox.values()) send.retry = true
    client.#submit(...store.outbox.values())
    return client
  }

  async close() {
    this.#flush()
    this.ws.close(1000)
    await this.ended()
  }

  /** Loses the connection, as a network does. */
  async drop() {
    this.ws.terminate()
    await this.ended()
  }

  async ended() {
    while (this.closed === null) await once(this, 'change')
  }

  send(to, content) {
    const { store } = this
    store.last = max((BigInt(Date.now()) + this.ahead) * 10_000n + UNIX, store.last + 1n)
    const id = makeId(store.last, store.seq, this.welcome.node)
    const send = { id, to, content: Buffer.from(content), retry: false, place: null, refused: null }
    store.outbox.set(hex(id), send)
    this.#submit(send)
    return send
  }

  mark() {
    this.#unmarked = 0
    this.#put(3, this.store.mine)
  }

  read(peer, pos) {
    this.#put(4, peer, pos)
  }

  history(peer, before = null, limit = 0) {
    return this.#request(8, peer, before, limit)
  }

  chats(before = null, limit = 0) {
    return this.#request(9, before, limit)
  }

  /** Waits until condition() holds, and returns what it gave; the timeout is one of silence. */
  async until(condition, timeout = 60_000) {
    for (;;) {
      const result = condition()
      if (result) return result
      if (this.closed !== null) throw new Error(`the session ended: ${this.closed} ${this.bye?.text ?? ''}`)
      await once(this, 'change', { signal: AbortSignal.timeout(timeout) })
    }
  }

  /** Takes the oldest unread packet of a type. */
  async wait(type) {
    return this.#take((p) => p.type === type)
  }

  async #take(where) {
    const packet = await this.until(() => this.unread.find(where))
    this.unread.splice(this.unread.indexOf(packet), 1)
    return packet
  }

  #put(...packet) {
    if (this.#out.length === 0) setImmediate(() => this.#flush())
    this.#out.push(encode(packet, { useBigInt64: true }))
  }

  /** Joins the packets that were put in one turn of the event loop into one message, or few (3.1). */
  #flush() {
    const batch = []
    for (let size = 0; this.#out.length > 0 && size < JOIN; size += batch.at(-1).length) batch.push(this.#out.shift())
    if (batch.length > 0 && this.ws.readyState === WebSocket.OPEN) this.ws.send(Buffer.concat(batch))
    if (this.#out.length > 0) this.#flush()
  }

  async #request(number, ...elements) {
    const req = ++this.#requests
    this.#put(number, req, ...elements)
    const answer = await this.#take((p) => p.req === req)
    if (answer.type === 'error') throw new Error(`code ${answer.code}: ${answer.text}`)
    return answer
  }

  // Sending (6).

  #submit(...sends) {
    this.#waiting.push(...sends)
    while (this.#waiting.length > 0 && this.#flying.size < this.#window && !this.#paused) {
      const send = this.#waiting.shift()
      const n = this.#next++
      this.#flying.set(n, send)
      this.#sent.set(hex(send.id), send)
      this.#put(2, n, send.id, send.to, 0, send.content, send.retry ? 1 : 0)
    }
  }

  #accepted({ n, count, pos }) {
    for (let i = 0; i < count; i++) {
      const send = this.#flying.get(n - i)
      this.#flying.delete(n - i)
      this.store.outbox.delete(hex(send.id))
      send.place ??= pos - BigInt(i) // an outcome may have told it
    }
    this.#window += count
    this.#submit()
  }

  #refused({ n, code, retry }) {
    const back = []
    for (const [m, send] of this.#flying) if (m >= n && this.#flying.delete(m)) back.push(send)
    this.#next = n
    if (RETRY.has(code)) {
      this.#window = 1 // slower: first this one alone, then more with each accepted
      this.#paused = true
      setTimeout(() => {
        this.#paused = false
        this.#submit()
      }, retry)
    } else {
      const givenUp = back.shift()
      givenUp.refused = code
      this.store.outbox.delete(hex(givenUp.id))
    }
    this.#waiting.unshift(...back)
    this.#submit()
  }

  // Receiving (7).

  #receive(data) {
    try {
      for (const packet of decode(data)) this.#handle(packet)
    } catch (fault) {
      console.error(fault)
      this.ws.close(1002)
    }
    this.emit('change')
  }

  #handle(p) {
    const { store } = this
    if (p.type === 'welcome') {
      this.welcome = p
      this.ahead = BigInt(p.now) - BigInt(Date.now())
      store.mine = p.resume
    } else if (p.type === 'accepted') this.#accepted(p)
    else if (p.type === 'refused') this.#refused(p)
    else if (p.type === 'bye') this.bye = p
    else if (p.type === 'caught_up' || p.type === 'truncated') this.#advance(max(store.mine, p.pos))
    else if (p.type === 'outcome' && this.#sent.has(hex(p.id))) this.#sent.get(hex(p.id)).place = p.place
    else if (p.type === 'message' || p.type === 'copy' || p.type === 'receipt') {
      if (p.pos > 0n && p.pos <= store.mine) return // a repeat
      if (p.pos - p.gap > store.mine) throw new Error(`a gap: ${p.pos} - ${p.gap} after ${store.mine}`)
      if (p.type === 'receipt') {
        const { delivered, read } = store.receipt(p.peer)
        store.receipts.set(p.peer, { delivered: max(delivered, p.delivered), read: max(read, p.read) })
      } else store.last = max(store.last, ticksOf(p.id))
      if (p.pos > 0n) this.#advance(p.pos)
    }
    this.unread.push(p)
  }

  #advance(pos) {
    this.store.mine = pos
    if (++this.#unmarked >= (this.welcome.limits.window ?? 1024) / 4) this.mark()
    else if (this.#unmarked === 1) setTimeout(() => this.#unmarked && this.mark(), MARK_AFTER)
  }
}
