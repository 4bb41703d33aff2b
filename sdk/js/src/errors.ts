/** What a client does about a code: see the table of codes in docs/protocol.md. */
export type Action = 'stop' | 'retry' | 'reconnect' | 'login'

/** The codes of the protocol by their names. */
export const codes = {
  ok: 0,
  overloaded: 1,
  rate_limited: 2,
  too_large: 3,
  bad_id: 4,
  id_future: 5,
  id_expired: 6,
  id_node: 7,
  id_conflict: 8,
  bad_name: 9,
  bad_ttl: 10,
  bad_sequence: 11,
  not_member: 12,
  not_admin: 13,
  group_full: 14,
  bad_change: 15,
  bad_packet: 100,
  unknown_type: 101,
  forbidden: 102,
  bad_position: 103,
  too_many: 104,
  unavailable: 105,
  not_hello: 106,
  bad_version: 107,
  already_hello: 108,
  bad_push: 109,
  bad_keys: 110,
  other_identity: 111,
  revoked: 112,
  not_found: 120,
  quota: 121,
  bad_media: 122,
  unauthorized: 200,
  expired: 201,
  replaced: 202,
  draining: 203,
  idle: 204,
  protocol: 206,
  flood: 207,
  internal: 208,
  busy: 209,
  wrong_user: 210,
  bad_origin: 211,
  unknown_outcome: 212,
  too_many_devices: 213,
} as const

/** The name of a code, such as `rate_limited`. */
export type CodeName = keyof typeof codes

const actions: Partial<Record<CodeName, Action>> = {
  overloaded: 'retry',
  rate_limited: 'retry',
  unavailable: 'retry',
  bad_sequence: 'reconnect',
  draining: 'reconnect',
  idle: 'reconnect',
  flood: 'reconnect',
  internal: 'reconnect',
  busy: 'reconnect',
  unknown_outcome: 'reconnect',
  unauthorized: 'login',
  expired: 'login',
}

/** Returns the name of a code, or `code_N` for one that is not known here. */
export function nameOf(code: number): CodeName | `code_${number}` {
  for (const name in codes) if (codes[name as CodeName] === code) return name as CodeName
  return `code_${code}`
}

/** Returns what a client does about a code: of those not known here, `reconnect` from 200 on, `stop` below. */
export function actionOf(code: number): Action {
  const name = nameOf(code)
  if (name in codes) return actions[name as CodeName] ?? 'stop'
  return code >= 200 ? 'reconnect' : 'stop'
}

/** A code of the protocol with what happened. What the SDK finds itself has a code too. */
export class ChatError extends Error {
  override readonly name = 'ChatError'
  /** The code's number. */
  readonly code: number
  /** How long to wait before trying the same again, 0 where nothing was said. */
  readonly retryAfterMs: number

  /**
   * @param code - a code's name, or its number
   * @param text - what happened, in English
   * @param retryAfterMs - how long to wait before trying again
   */
  constructor(code: CodeName | number, text: string, retryAfterMs = 0) {
    const number = typeof code === 'number' ? code : codes[code]
    super(text ? `${nameOf(number)}: ${text}` : nameOf(number))
    this.code = number
    this.retryAfterMs = retryAfterMs
  }

  /** The code's name. */
  get codeName(): CodeName | `code_${number}` {
    return nameOf(this.code)
  }

  /** What to do about it. */
  get action(): Action {
    return actionOf(this.code)
  }
}

/** The client was closed. */
export class ClosedError extends Error {
  override readonly name = 'ClosedError'

  /** Makes one. */
  constructor() {
    super('the client was closed')
  }
}

/** The journal could not be opened, read or written. `cause` is the storage's own error. */
export class StateError extends Error {
  override readonly name = 'StateError'
}

/** Reports whether an error asks to try the same again. @internal */
export function isRetry(err: unknown): err is ChatError {
  return err instanceof ChatError && err.action === 'retry'
}
