import { decodeMulti, Encoder } from '@msgpack/msgpack'

import { ChatError } from './errors.ts'
import { bytesOfId, idOfBytes } from './id.ts'
import { type Fields, type Kind, leastFields, type Packet, type PacketFields, type PacketName, type Scalars, schemas } from './schema.ts'

/** The version of the protocol, in hello and welcome. */
export const version = 1n
/** The WebSocket subprotocol that carries these packets. */
export const subprotocol = 'rookery.v1'
/** What stands before the token in the second subprotocol that a client offers. */
export const tokenSubprotocol = 'rookery.token.'
/** The flag of a send whose id may have touched a socket before. */
export const retryFlag = 1
/** Hello's resume for: from now on. */
export const resumeNow = -1n

const nameOfType = new Map(Object.entries(schemas).map(([name, [type]]) => [type as number, name as PacketName]))
const encoder = new Encoder({ useBigInt64: true })

/** Returns a packet's bytes, in the shortest form. Fields that are left out are zero. */
export function encodePacket<N extends PacketName>(name: N, fields: Partial<PacketFields<N>>): Uint8Array {
  const [type, kinds] = schemas[name]
  const elements = elementsOf(kinds, fields)
  const least = leastFields[name] ?? elements.length
  while (elements.length > least && isZero(elements.at(-1))) elements.pop()
  return encoder.encode([type, ...elements])
}

function elementsOf(kinds: Fields, fields: Readonly<Record<string, unknown>>): unknown[] {
  return Object.entries(kinds).map(([name, kind]) => elementOf(kind, fields[name] ?? zeroOf(kind)))
}

function isZero(element: unknown): boolean {
  return element === null || element === 0 || element === ''
}

function elementOf(kind: Kind, value: unknown): unknown {
  if (typeof kind !== 'string') {
    if (isList(kind)) return (value as unknown[]).map((each) => elementOf(kind[0], each))
    return elementsOf(kind, value as Record<string, unknown>)
  }
  if (kind === 'id') return value === null ? null : bytesOfId(value as string)
  if (kind === 'limits') return mapValues(value as Record<string, unknown>, shorter)
  return shorter(value)
}

/** A bigint as a number where 32 bits hold it: the library writes bigints in 64 bits, and numbers beyond 32 as floats. */
function shorter(value: unknown): unknown {
  return typeof value === 'bigint' && value >= -(2n ** 31n) && value < 2n ** 32n ? Number(value) : value
}

function isList(kind: Kind): kind is readonly [Kind] {
  return Array.isArray(kind)
}

const zeros: { [K in keyof Scalars]: () => Scalars[K] } = {
  uint: () => 0n,
  int: () => 0n,
  i32: () => 0,
  u8: () => 0,
  u16: () => 0,
  u32: () => 0,
  bool: () => false,
  str: () => '',
  bin: () => null,
  id: () => null,
  node: () => new Uint8Array(6),
  resume: () => null,
  limits: () => ({}),
}

/** What nil and absence mean. */
function zeroOf(kind: Kind): unknown {
  if (typeof kind === 'string') return zeros[kind]()
  return isList(kind) ? [] : fieldsOf(kind, [], 'row')
}

/**
 * Returns the packets of one WebSocket message, without those of types that are not known here. Throws
 * {@link ChatError} `bad_packet`.
 */
export function decodePackets(message: Uint8Array): Packet[] {
  const packets: Packet[] = []
  try {
    for (const elements of decodeMulti(message, { useBigInt64: true })) {
      const packet = packetOf(elements)
      if (packet) packets.push(packet)
    }
  } catch (err) {
    if (err instanceof ChatError) throw err
    throw new ChatError('bad_packet', `a message is no sequence of packets: ${(err as Error).message}`)
  }
  return packets
}

function packetOf(elements: unknown): Packet | null {
  if (!Array.isArray(elements) || elements.length === 0) throw new ChatError('bad_packet', 'a packet is an array of 1 element or more')
  const [first, ...rest] = elements as unknown[]
  const type = integer(first, 0n, 0xffn)
  if (type === undefined) throw new ChatError('bad_packet', "a packet's first element is its type, 0 to 255")
  const name = nameOfType.get(Number(type))
  if (!name) return null
  return { type: name, ...fieldsOf(schemas[name][1], rest, name) } as Packet
}

function fieldsOf(kinds: Fields, elements: unknown[], where: string): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  let i = 0
  for (const name in kinds) {
    const value = valueOf(kinds[name]!, elements[i++] ?? null)
    if (value === undefined) throw new ChatError('bad_packet', `${name} of a ${where} is of another type or out of range`)
    fields[name] = value
  }
  return fields
}

/** What an element is worth to a field, undefined when it is none for it. */
function valueOf(kind: Kind, element: unknown): unknown {
  if (element === null) return zeroOf(kind)
  if (typeof kind === 'string') return scalarOf(kind, element)
  if (!Array.isArray(element)) return undefined
  if (!isList(kind)) return fieldsOf(kind, element, 'row')
  const values = element.map((each) => valueOf(kind[0], each))
  return values.includes(undefined) ? undefined : values
}

function scalarOf(kind: keyof Scalars, element: unknown): unknown {
  switch (kind) {
    case 'uint':
      return integer(element, 0n, 2n ** 64n - 1n)
    case 'int':
      return integer(element, -(2n ** 63n), 2n ** 63n - 1n)
    case 'resume':
      return integer(element, resumeNow, 2n ** 63n - 1n)
    case 'i32':
      return small(element, -(2n ** 31n), 2n ** 31n - 1n)
    case 'u8':
      return small(element, 0n, 0xffn)
    case 'u16':
      return small(element, 0n, 0xffffn)
    case 'u32':
      return small(element, 0n, 0xffff_ffffn)
    case 'bool':
      return typeof element === 'boolean' ? element : undefined
    case 'str':
      return typeof element === 'string' ? element : undefined
    case 'limits':
      return limitsOf(element)
  }
  if (!(element instanceof Uint8Array)) return undefined
  if (kind === 'id') return element.length === 16 ? idOrNone(element) : undefined
  return kind === 'node' && element.length !== 6 ? undefined : element.slice() // a copy: what came lies in the whole message
}

function integer(element: unknown, least: bigint, most: bigint): bigint | undefined {
  if (typeof element === 'number' ? !Number.isSafeInteger(element) : typeof element !== 'bigint') return undefined
  const value = BigInt(element as number | bigint)
  return value >= least && value <= most ? value : undefined
}

function small(element: unknown, least: bigint, most: bigint): number | undefined {
  const value = integer(element, least, most)
  return value === undefined ? undefined : Number(value)
}

/** Sixteen zeros are no id, as nil is none. */
function idOrNone(bytes: Uint8Array): string | null {
  return bytes.some((b) => b !== 0) ? idOfBytes(bytes) : null
}

function limitsOf(element: unknown): Record<string, unknown> | undefined {
  if (typeof element !== 'object' || Array.isArray(element) || element instanceof Uint8Array) return undefined
  const limits = mapValues(element as Record<string, unknown>, (each) => integer(each ?? 0, 0n, 2n ** 64n - 1n))
  return Object.values(limits).includes(undefined) ? undefined : limits
}

function mapValues(map: Record<string, unknown>, f: (value: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, f(value)]))
}
