import { ChatError } from './errors.ts'
import type { Position } from './events.ts'
import type { Journal } from './journal.ts'

/** A constructor of WebSockets as browsers have it, such as the global one or that of the package `ws`. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => object

/** What a client needs to know, and what it may be told. */
export interface ClientOptions {
  /** The server, `ws://host:port` or `wss://host:port`. */
  url: string
  /** Who this is. */
  user: string
  /** Which installation of the user's this is. Two clients of one device take the session from each other. */
  device: string
  /** Returns a JWT for the user. It is called for each connection, and again in time before the token in use expires. */
  token: () => string | Promise<string>
  /** Keeps the outbox and the cursor. Default: memory, and what is not accepted when the page or process ends is lost. */
  journal?: Journal
  /**
   * Where the chain begins: after the last entry that this device has handled, at the oldest that is kept, now, or at a
   * position. Default: `last`, which without a journal of its own is what the server remembers of the device.
   */
  from?: 'last' | 'start' | 'now' | Position
  /** Makes a client that sends and learns of receipts, but takes no messages: none is marked as delivered. Default: false. */
  sendOnly?: boolean
  /** How many messages may wait to be accepted; send waits for room. Default: 10,000. */
  outboxMessages?: number
  /** How many bytes may wait to be accepted. Default: 64 MiB. */
  outboxBytes?: number
  /** How many events may wait for the app. Default: 1,024. */
  eventQueue?: number
  /** The wait before connecting again is random up to this, doubled with each failure in a row. Default: 500. */
  backoffMinMs?: number
  /** And never longer than this. Default: 30,000. */
  backoffMaxMs?: number
  /** How long an attempt to connect may take, up to the welcome. Default: 10,000. */
  dialTimeoutMs?: number
  /** Makes the sockets. Default: the global WebSocket, which Node has from version 22. */
  WebSocket?: WebSocketConstructor
}

/** Options with their defaults. @internal */
export type Settings = Required<Omit<ClientOptions, 'journal'>>

const defaults = {
  sendOnly: false,
  outboxMessages: 10_000,
  outboxBytes: 64 << 20,
  eventQueue: 1024,
  backoffMinMs: 500,
  backoffMaxMs: 30_000,
  dialTimeoutMs: 10_000,
}

/** Checks options and fills in the defaults. Throws {@link ChatError} `bad_name`, with everything that is wrong. @internal */
export function settingsOf(o: ClientOptions): Settings {
  const faults: string[] = []
  if (!/^wss?:\/\/[^/?#]+/.test(o.url)) faults.push(`url ${JSON.stringify(o.url)} is not of the form ws://host:port or wss://host:port`)
  faults.push(...[userFault(o.user), nameFault('device', o.device, 32, /^[\w.-]*$/)].filter((fault) => fault !== ''))
  if (typeof o.token !== 'function') faults.push('token is not a function that returns a JWT')
  if (typeof o.from === 'bigint' && (o.from < 0n || o.from >= 2n ** 63n)) faults.push('from is not between 0 and 2^63')
  const { outboxMessages, outboxBytes, eventQueue, backoffMinMs, backoffMaxMs, dialTimeoutMs } = o
  for (const [name, value] of Object.entries({ outboxMessages, outboxBytes, eventQueue, backoffMinMs, backoffMaxMs, dialTimeoutMs })) {
    if (value !== undefined && !(value > 0)) faults.push(`${name} is not above 0`)
  }
  const WebSocket = o.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined)
  if (!WebSocket) faults.push('there is no global WebSocket here: give that of the package ws as WebSocket')
  if (faults.length > 0) throw new ChatError('bad_name', `client options: ${faults.join('; ')}`)
  const given = Object.fromEntries(Object.entries(o).filter(([, value]) => value !== undefined)) as unknown as ClientOptions
  const s = { from: 'last' as const, ...defaults, ...given, WebSocket: WebSocket! }
  return { ...s, backoffMaxMs: Math.max(s.backoffMaxMs, s.backoffMinMs) }
}

/** Throws {@link ChatError} `bad_name` for what is no user's name. @internal */
export function checkUser(name: string): void {
  const fault = userFault(name)
  if (fault) throw new ChatError('bad_name', fault)
}

/** Throws {@link ChatError} `bad_name` for what is the name of neither a user nor a group. @internal */
export function checkPeer(name: string): void {
  if (!isGroup(name)) checkUser(name)
}

/** Reports whether a name is a group's. */
export function isGroup(name: string): boolean {
  return /^:[\w-]{21}[AQgw]$/.test(name) // the last character has two bits of an id, and four that are zero
}

/** Reports whether a name is a user's. @internal */
export function isUser(name: string): boolean {
  return userFault(name) === ''
}

function userFault(name: string): string {
  return nameFault('user', name, 64, /^[\w.@+-]*$/)
}

function nameFault(what: string, name: string, most: number, form: RegExp): string {
  if (typeof name !== 'string' || name === '' || name.length > most) return `a ${what}'s name has 1 to ${most} bytes`
  return form.test(name) ? '' : `a ${what}'s name is letters, digits and some punctuation, not ${JSON.stringify(name)}`
}
