import { ChatError } from './errors.ts'

/**
 * A message's id: a TIMEUUID (RFC 9562, version 1) that the sender's device made, in its usual form of 36 characters,
 * lower case. Compare ids with {@link compareIds}: the order of the strings is not that of time.
 */
export type MessageId = string

/** 1970 in ticks of 100 ns since 1582-10-15. */
const unixTicks = 0x01b21dd213814000n

/** The largest clock sequence, 14 bits. */
export const maxClockSequence = 0x3fff

const form = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Returns bytes as hexadecimal digits. */
export function hexOf(bytes: Uint8Array): string {
  let s = ''
  for (const b of bytes) s += b.toString(16).padStart(2, '0')
  return s
}

/** Returns the bytes of an even number of hexadecimal digits, which are not checked. */
export function bytesOfHex(hex: string): Uint8Array {
  const bytes = new Uint8Array(hex.length / 2)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16)
  return bytes
}

/** Returns the id of 16 bytes in network order. */
export function idOfBytes(bytes: Uint8Array): MessageId {
  const h = hexOf(bytes)
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`
}

/** Returns the 16 bytes of an id. Throws {@link ChatError} `bad_id` for what is none. */
export function bytesOfId(id: MessageId): Uint8Array {
  if (!form.test(id)) throw new ChatError('bad_id', `${JSON.stringify(id)} is not a message id of the form 8-4-4-4-12, in lower case`)
  return bytesOfHex(id.replaceAll('-', ''))
}

/** Reports whether a string is a TIMEUUID whose node has its lowest bit set, as every id of a message is. */
export function isMessageId(id: string): boolean {
  return form.test(id) && id[14] === '1' && '89ab'.includes(id[19]!) && (Number.parseInt(id.slice(24, 26), 16) & 1) === 1
}

/** Makes the id of a time in ticks of 100 ns since 1582-10-15 (60 bits), a clock sequence and a node of 12 hex digits. */
export function makeId(ticks: bigint, sequence: number, node: string): MessageId {
  const t = ticks.toString(16).padStart(15, '0')
  const seq = (0x8000 | (sequence & maxClockSequence)).toString(16)
  return `${t.slice(7)}-${t.slice(3, 7)}-1${t.slice(0, 3)}-${seq}-${node}`
}

/** Returns an id's time in ticks of 100 ns since 1582-10-15. */
export function ticksOfId(id: MessageId): bigint {
  return BigInt(`0x${id.slice(15, 18)}${id.slice(9, 13)}${id.slice(0, 8)}`)
}

/** Returns a time in ms since 1970 in ticks of 100 ns since 1582-10-15. */
export function ticksOfMs(ms: number): bigint {
  return BigInt(Math.floor(ms)) * 10_000n + unixTicks
}

/** Returns an id's time in ms since 1970: when the message was written, by the server's clock. */
export function msOfId(id: MessageId): number {
  return Number((ticksOfId(id) - unixTicks) / 10_000n)
}

/** Returns the node of an id, 12 hex digits, which is its sender's device. */
export function nodeOfId(id: MessageId): string {
  return id.slice(24)
}

/** Orders ids by time, then clock sequence, then node: negative, zero or positive. */
export function compareIds(a: MessageId, b: MessageId): number {
  const x = sortKeyOfId(a)
  const y = sortKeyOfId(b)
  return x < y ? -1 : x > y ? 1 : 0
}

/** Returns a string that sorts as the id does: its time first. */
export function sortKeyOfId(id: MessageId): string {
  return id.slice(14, 18) + id.slice(9, 13) + id.slice(0, 8) + id.slice(19)
}

/** Makes the ids of one installation of one device. They rise strictly, whatever the device's clock does. */
export class Clock {
  readonly #node: string
  readonly #sequence: number
  #last: bigint

  /**
   * @param node - 12 hex digits, from the server's welcome
   * @param sequence - drawn at random once per installation and kept with its state
   * @param last - ticks of the newest id this installation has made or seen
   */
  constructor(node: string, sequence: number, last: bigint) {
    this.#node = node
    this.#sequence = sequence
    this.#last = last
  }

  /** Returns an id for a time in ms since 1970, corrected by the server's, above every id made or seen. */
  next(ms: number): MessageId {
    const ticks = ticksOfMs(ms)
    this.#last = ticks > this.#last ? ticks : this.#last + 1n
    return makeId(this.#last, this.#sequence, this.#node)
  }

  /** Makes later ids greater than this one. */
  see(id: MessageId): void {
    const ticks = ticksOfId(id)
    if (ticks > this.#last) this.#last = ticks
  }
}
