import type { Core } from './core.ts'
import { ChatError, ClosedError } from './errors.ts'
import { hexOf } from './id.ts'
import { Pace } from './pace.ts'
import { decodePackets, encodePacket, resumeNow, subprotocol, tokenSubprotocol, version } from './packets.ts'
import { take } from './receive.ts'
import { refusalOf, urlOf } from './handshake.ts'
import type { PacketFields } from './schema.ts'
import { Writer } from './write.ts'

// What a session goes by where the welcome does not say.
const defaultInflight = 64
const defaultRequests = 8
const defaultHeartbeatMs = 30_000

/** For the server's answer to our close, and for what it still accepts after a bye. */
const closeWaitMs = 1000

/** A longer timer would go off at once. */
const longestTimerMs = 2 ** 31 - 1

/** A close with this and a code on top says what a bye would have said. */
const closeOfCode = 4000

/** Closes that coming back does not mend: RFC 6455 broken, a text message, bad UTF-8, a message too big. */
const closeFaults = [1002, 1003, 1007, 1009]

/** What we close with on bytes that are no packets. Browsers do not let a page say 1002. */
const closeBroken = 3002

/** Why a session ended or could not begin, and what follows. */
export interface Ending {
  error: Error
  /** Coming back does not mend it. */
  stop: boolean
  /** What the server asks for at least. */
  waitMs: number
  /** Where to; empty is the place configured. */
  url: string
  /** Come back without a wait: the session did nothing wrong. */
  now: boolean
}

/** Ends a session whose entries were not taken as the app was slow: it has caught up, and the next one brings them again. */
export const behind = new Error('the app was slow, and has caught up')

/** What this SDK uses of a WebSocket. */
interface Socket {
  binaryType: string
  readonly protocol: string
  readonly bufferedAmount: number
  send(data: Uint8Array): void
  close(code?: number): void
  onopen: () => void
  onmessage: (event: { data: unknown }) => void
  onerror: (event: object) => void
  onclose: (event: { code: number; reason: string }) => void
}

/** One connection's life. */
export class Session {
  readonly core: Core
  readonly writer: Writer
  welcomed = false
  /** Links of the chain in this session. */
  links = 0
  /** Up to where the server has sent the chain in this session. */
  reach = 0n
  marked = 0n
  /** The server said bye: nothing more is sent. */
  leaving = false
  /** The server was too busy for read marks and watches until then. */
  calmUntil = 0
  limits: Readonly<Record<string, bigint>> = {}
  inflight = defaultInflight
  requests = defaultRequests
  /** Links the server sends ahead of the mark; 0: not known. */
  window = 0
  heartbeatMs = defaultHeartbeatMs
  pace = new Pace(0, 0, 0, 0)
  /** Peers whose read mark is to be written. */
  readonly unsentReads = new Set<string>()
  /** Users whose watch is to be written. */
  readonly unwatched = new Set<string>()
  /** Watches without an answer. With news of the user since it was written a refusal may be of before they had a chat. */
  readonly watching = new Map<bigint, { user: string; news: boolean }>()
  /** Users whose watch was refused for want of a chat. */
  readonly strangers = new Set<string>()
  /** Resolves when it ends. */
  readonly ended: Promise<void>
  /** When the server was last heard. */
  heardAt = performance.now()
  /** What the server said of the session's end, without a bye. */
  said: Error | null = null
  readonly #base: string
  readonly #onWelcome: () => void
  readonly #began = performance.now()
  #socket: Socket | null = null
  #opened = false
  #closing = false
  #closedAt = 0
  #token = ''
  #expiresAt = Number.POSITIVE_INFINITY // by our clock, ms since 1970
  #bye: PacketFields<'bye'> | null = null
  #resumed = 0n // what hello asked for, 0 when it is the server's word
  #watch: ReturnType<typeof setTimeout> | undefined
  #refresh: ReturnType<typeof setTimeout> | undefined
  #reason: Error | null = null
  #resolve!: () => void

  constructor(core: Core, base: string, onWelcome: () => void) {
    this.core = core
    this.#base = base
    this.#onWelcome = onWelcome
    this.ended = new Promise((resolve) => (this.#resolve = resolve))
    this.writer = new Writer(this)
  }

  /** Connects and lives to the end. */
  async run(): Promise<Ending> {
    const abort = () => this.quit(new ClosedError())
    this.core.over.signal.addEventListener('abort', abort)
    this.#guard()
    this.#connect().catch((err: Error) => this.quit(err))
    await this.ended
    this.core.over.signal.removeEventListener('abort', abort)
    this.#leave()
    return this.#ending()
  }

  /** Ends the session for a reason; the first one counts. */
  quit(reason: Error, code = 1000): void {
    if (this.#reason) return
    this.#reason = reason
    clearTimeout(this.#watch)
    clearTimeout(this.#refresh)
    this.writer.stop()
    const socket = this.#socket
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = socket.onerror = () => {}
      socket.close(code)
    }
    this.#resolve()
  }

  async #connect(): Promise<void> {
    const { settings, over } = this.core
    let token: string
    try {
      token = await settings.token()
    } catch (err) {
      throw new ChatError('unavailable', `token failed: ${err}`)
    }
    if (this.#reason || over.signal.aborted) return
    if (!/^[\w.-]+$/.test(token)) throw new ChatError('unauthorized', 'token did not return a JWT')
    this.#token = token
    const url = urlOf(this.#base, settings.user)
    const socket = new settings.WebSocket(url, [subprotocol, tokenSubprotocol + token]) as Socket
    this.#socket = socket
    socket.binaryType = 'arraybuffer'
    let refusal: ChatError | null = null
    socket.onopen = () => this.#onOpen(url)
    socket.onmessage = ({ data }) => this.#onMessage(data)
    socket.onerror = (event) => (refusal = refusalOf(event))
    socket.onclose = ({ code, reason }) => {
      if (this.#opened) this.#onClose(code, reason)
      else this.quit(refusal ?? new ChatError('unavailable', `cannot connect to ${url}: is the server running, is this its URL, and does it take this token?`))
    }
  }

  #onOpen(url: string): void {
    const { core } = this
    this.#opened = true
    if (this.#socket!.protocol !== subprotocol) {
      this.quit(new ChatError('bad_version', `${url} does not speak ${subprotocol}: is it a Rookery server?`))
      return
    }
    const { inbox, settings } = core
    inbox.behind = false
    let resume: bigint | null = null
    if (inbox.known) resume = this.#resumed = inbox.resumeAt
    else if (settings.from === 'start') resume = 0n
    else if (settings.from === 'now') resume = resumeNow
    else if (settings.from !== 'last') resume = settings.from
    this.#socket!.send(encodePacket('hello', { version, device: settings.device, seq: core.sequence, resume }))
  }

  #onMessage(data: unknown): void {
    this.heardAt = performance.now()
    try {
      if (!(data instanceof ArrayBuffer)) throw new ChatError('bad_packet', 'a text message')
      for (const packet of decodePackets(new Uint8Array(data))) {
        if (this.#reason) return
        take(this, packet)
      }
    } catch (err) {
      const broken = err instanceof ChatError && err.codeName === 'bad_packet'
      this.quit(broken ? protocolBroken(err.message) : (err as Error), broken ? closeBroken : 1000)
    }
  }

  #onClose(code: number, reason: string): void {
    let error = new ChatError('unavailable', `the connection broke, or was closed with code ${code} ${reason}; it is made again`)
    if (code >= closeOfCode && code < 5000) error = new ChatError(code - closeOfCode, `the server closed the connection: ${reason}`)
    else if (closeFaults.includes(code)) {
      error = new ChatError('protocol', `the server closed the connection with code ${code} ${reason}: a fault of this program`)
    }
    if (!this.#bye && !this.#closing) this.said = error
    this.quit(error)
  }

  /** Takes in the welcome and starts the writer. */
  welcome(w: PacketFields<'welcome'>): void {
    const { core } = this
    if (this.welcomed || w.version !== version) throw protocolBroken('an unexpected welcome')
    if (w.resume < this.#resumed) {
      this.said = new ChatError(
        'bad_position',
        `the server resumes at ${w.resume}, this device has kept ${this.#resumed}: it is another server, or one that lost its data; ` +
          'remove the journal to start anew',
      )
      throw this.said
    }
    const limit = (name: string, otherwise: number) => Number(w.limits[name] ?? 0n) || otherwise
    this.limits = w.limits
    this.heartbeatMs = Math.min(Number(w.heartbeat), longestTimerMs) || defaultHeartbeatMs
    this.inflight = limit('inflight', defaultInflight)
    this.requests = limit('requests', defaultRequests)
    this.window = limit('window', 0)
    this.pace = new Pace(limit('rate', 0), limit('burst', limit('rate', 0)), limit('rate_bytes', 0), performance.now())
    core.identify(hexOf(w.node), w.now)
    core.maxContentBytes = w.limits['content'] ?? 0n
    core.maxTtlSeconds = Math.min(limit('ttl', 0), 2 ** 32 - 1)
    this.marked = core.inbox.welcome(w.resume)
    this.reach = w.resume
    for (const peer of core.reads.keys()) this.unsentReads.add(peer)
    for (const user of core.watched) this.unwatched.add(user)
    for (const request of core.requests.values()) request.asked = false
    core.outbox.begin()
    core.session = this
    core.inbox.tell({ type: 'connected', user: w.user, resume: w.resume, waiting: Number(w.waiting) })
    this.welcomed = true
    this.expires(w.expires)
    this.#onWelcome()
    core.changed.fire()
    this.#guard()
    this.wake()
  }

  /** The chain begins at the server's word from now on: it does not have our position. Reports whether that was ours to forget. */
  #forgets(code: ChatError): boolean {
    const { inbox } = this.core
    if (code.codeName !== 'bad_position' || !inbox.known || this.welcomed) return false
    inbox.forget()
    inbox.tell({ type: 'truncated', position: inbox.mine })
    return true
  }

  /** There may be something to write. */
  wake(): void {
    if (this.welcomed) this.writer.wake()
  }

  /** Writes a message of packets. */
  write(payload: Uint8Array): void {
    this.#socket!.send(payload)
  }

  /** Bytes that wait in the socket. */
  get buffered(): number {
    return this.#socket!.bufferedAmount
  }

  /** Says that we are done; the server answers. */
  close(): void {
    this.#closing = true
    this.#closedAt = performance.now()
    this.#socket!.close(1000)
    this.#guard()
  }

  /** Ends the session after a bye, once what is on its way has been answered or the server closes: one that drains still acknowledges. */
  bye(b: PacketFields<'bye'>): void {
    this.#bye = b
    this.leaving = true
    this.#closedAt = performance.now()
    this.#guard()
    this.answered()
  }

  /** A send was answered: after a bye that may have been the last one. */
  answered(): void {
    if (this.#bye && this.core.outbox.inflight === 0) this.quit(endOfSession)
  }

  /** For how long a server may neither be heard, which is pinged after a heartbeat, nor written to. */
  get #patienceMs(): number {
    return this.heartbeatMs + this.core.settings.dialTimeoutMs
  }

  /** Ends the session when the server was not heard for too long. */
  #guard(): void {
    clearTimeout(this.#watch)
    if (this.#reason) return
    let deadline = this.heardAt + this.#patienceMs
    if (this.#closing || this.#bye) deadline = this.#closedAt + closeWaitMs
    else if (!this.welcomed) deadline = this.#began + this.core.settings.dialTimeoutMs
    const left = deadline - performance.now()
    if (left > 0) this.#watch = setTimeout(() => this.#guard(), Math.min(left, longestTimerMs))
    else if (this.#closing || this.#bye) this.quit(endOfSession)
    else this.quit(new ChatError('unavailable', 'nothing was heard from the server for too long; the connection is made again'))
  }

  /** Takes in when the token expires, by the server's clock. */
  expires(serverMs: bigint): void {
    this.#expiresAt = serverMs > 0n ? Number(serverMs) - this.core.offsetMs : Number.POSITIVE_INFINITY
    this.#scheduleRefresh()
  }

  #scheduleRefresh(): void {
    clearTimeout(this.#refresh)
    if (this.#reason || this.#expiresAt === Number.POSITIVE_INFINITY) return
    const left = this.#expiresAt - Date.now()
    const wait = left <= 0 ? 1000 : Math.max((left / 5) * 4, 20)
    this.#refresh = setTimeout(() => this.refresh(), Math.min(wait, longestTimerMs))
  }

  /** Replaces the token in time before it expires, if there is a newer one. */
  async refresh(): Promise<void> {
    let token = this.#token
    try {
      token = await this.core.settings.token()
    } catch {
      // It is asked for again, and by the next session at the latest.
    }
    if (this.#reason) return
    if (token !== this.#token) {
      this.#token = token
      this.core.say('refresh', { token })
    }
    this.#scheduleRefresh()
  }

  /** Takes the session's numbers back. */
  #leave(): void {
    const { core } = this
    if (this.welcomed) core.outbox.end()
    core.session = null
    core.soon = []
    core.soonBytes = 0
    core.changed.fire()
  }

  #ending(): Ending {
    const reason = this.#reason!
    const bye = this.#bye
    if (bye) {
      const error = new ChatError(bye.code, bye.text, Number(bye.retry))
      const ending = endingOf(error)
      return { ...ending, url: bye.url, stop: ending.stop && !this.#forgets(error) }
    }
    if (this.said) return endingOf(this.said)
    if (reason === behind) return { ...endingOf(reason), now: true }
    // What a live session meets by itself is mended by coming back, whatever its code.
    return this.#opened && this.welcomed ? { ...endingOf(reason), stop: false } : endingOf(reason)
  }
}

const endOfSession = new ChatError('unavailable', 'the session ended')

function endingOf(error: Error): Ending {
  const code = error instanceof ChatError ? error : null
  return { error, stop: code?.action === 'stop', waitMs: code?.retryAfterMs ?? 0, url: '', now: false }
}

/** Makes the error of a server whose bytes are not those of the protocol. The session is made again. */
export function protocolBroken(what: string): ChatError {
  return new ChatError('unavailable', `the server broke the protocol: ${what}; the connection is made again`)
}
