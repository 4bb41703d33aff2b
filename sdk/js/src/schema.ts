// The packets of docs/protocol.md, section 13: their types and, in the order of the wire, their fields.
//
// Every integer that may have 64 bits is a bigint, always: a number is exact up to 2^53 only, a position of epoch 32 is
// above that, and a field that is now the one and now the other breaks the first comparison that nobody tested.

import type { MessageId } from './id.ts'

/** What an element is worth to each kind of field. */
export interface Scalars {
  uint: bigint
  int: bigint
  i32: number
  u8: number
  u16: number
  u32: number
  bool: boolean
  str: string
  bin: Uint8Array | null
  id: MessageId | null
  node: Uint8Array
  resume: bigint | null
  limits: Record<string, bigint>
}

/** A kind of field: a scalar, a row of fields, or a list of one kind. */
export type Kind = keyof Scalars | Fields | readonly [Kind]
/** The fields of a packet or row by their names, in the order of the wire. */
export interface Fields {
  readonly [name: string]: Kind
}

/** The value of a kind. */
export type Value<K> = K extends keyof Scalars
  ? Scalars[K]
  : K extends readonly [infer E]
    ? Value<E>[]
    : { -readonly [N in keyof K]: Value<K[N]> }

const row = { id: 'id', from: 'str', place: 'uint', late: 'int', suite: 'u8', content: 'bin', expires: 'int', media: 'str' } as const
const chat = { peer: 'str', delivered: 'uint', read: 'uint', mine: 'uint', last: row } as const
const preKey = { id: 'uint', key: 'bin', signature: 'bin' } as const
const deviceRef = { user: 'str', device: 'str' } as const
const deviceKeys = { device: 'str', curve: 'bin', signing: 'bin', signature: 'bin' } as const
const userKeys = { user: 'str', identity: 'bin', devices: [deviceKeys] } as const
const member = { user: 'str', admin: 'bool', since: 'uint', delivered: 'uint', read: 'uint' } as const
const ownDevice = { device: 'str', label: 'str', created: 'int', revoked: 'int' } as const
const claimedKey = { user: 'str', device: 'str', fallback: 'bool', pre_key: preKey } as const

/** Each packet's type and fields. */
export const schemas = {
  hello: [1, { version: 'uint', device: 'str', seq: 'u16', resume: 'resume' }],
  send: [2, { n: 'uint', id: 'id', to: 'str', suite: 'u8', content: 'bin', flags: 'u8', ttl: 'u32', media: 'str' }],
  mark: [3, { pos: 'uint' }],
  read: [4, { peer: 'str', pos: 'uint' }],
  typing: [5, { peer: 'str', on: 'bool' }],
  watch: [6, { req: 'uint', users: ['str'] }],
  unwatch: [7, { users: ['str'] }],
  history: [8, { req: 'uint', peer: 'str', before: 'id', limit: 'i32' }],
  chats: [9, { req: 'uint', before: 'id', limit: 'i32' }],
  refresh: [10, { token: 'str' }],
  ping: [11, { data: 'uint' }],
  push: [12, { req: 'uint', provider: 'str', token: 'str' }],
  keys_put: [
    13,
    { req: 'uint', identity: 'bin', curve: 'bin', signing: 'bin', signature: 'bin', one_time: [preKey], fallback: preKey, reset: 'bool' },
  ],
  keys_get: [14, { req: 'uint', users: ['str'] }],
  keys_claim: [15, { req: 'uint', devices: [deviceRef] }],
  keys_drop: [16, { req: 'uint', device: 'str' }],
  welcome: [
    32,
    { version: 'uint', now: 'int', node: 'node', user: 'str', resume: 'uint', waiting: 'uint', heartbeat: 'uint', expires: 'int', limits: 'limits' },
  ],
  accepted: [33, { n: 'uint', count: 'uint', pos: 'uint' }],
  refused: [34, { n: 'uint', code: 'u16', retry: 'uint', text: 'str' }],
  message: [
    35,
    { pos: 'uint', gap: 'uint', id: 'id', from: 'str', late: 'int', suite: 'u8', content: 'bin', expires: 'int', media: 'str' },
  ],
  copy: [
    36,
    { pos: 'uint', gap: 'uint', id: 'id', to: 'str', late: 'int', suite: 'u8', content: 'bin', place: 'uint', expires: 'int', media: 'str' },
  ],
  receipt: [37, { pos: 'uint', gap: 'uint', peer: 'str', delivered: 'uint', read: 'uint' }],
  caught_up: [38, { pos: 'uint' }],
  truncated: [39, { pos: 'uint' }],
  typing_from: [40, { peer: 'str', on: 'bool' }],
  presence: [41, { peer: 'str', online: 'bool', seen: 'int' }],
  history_page: [42, { req: 'uint', peer: 'str', delivered: 'uint', read: 'uint', more: 'bool', rows: [row], next: 'id' }],
  chats_page: [43, { req: 'uint', more: 'bool', chats: [chat] }],
  outcome: [44, { id: 'id', to: 'str', code: 'u16', place: 'uint' }],
  refreshed: [45, { expires: 'int' }],
  pong: [46, { data: 'uint', now: 'int' }],
  error: [47, { code: 'u16', retry: 'uint', text: 'str', req: 'uint' }],
  bye: [48, { code: 'u16', retry: 'uint', url: 'str', text: 'str' }],
  done: [49, { req: 'uint' }],
  keys_stored: [50, { req: 'uint', left: 'uint' }],
  keys: [51, { req: 'uint', users: [userKeys] }],
  keys_claimed: [52, { req: 'uint', keys: [claimedKey] }],
  keys_low: [53, { left: 'uint' }],
  group_get: [17, { req: 'uint', group: 'str', beyond: 'str', limit: 'i32' }],
  group_message: [
    54,
    { pos: 'uint', gap: 'uint', id: 'id', from: 'str', group: 'str', place: 'uint', late: 'int', suite: 'u8', content: 'bin', expires: 'int', media: 'str' },
  ],
  devices_get: [24, { req: 'uint' }],
  device_label: [25, { req: 'uint', device: 'str', label: 'str' }],
  device_revoke: [26, { req: 'uint', device: 'str' }],
  devices: [56, { req: 'uint', devices: [ownDevice] }],
  group_page: [55, { req: 'uint', group: 'str', info: 'bin', more: 'bool', members: [member], place: 'uint' }],
} as const

type Schemas = typeof schemas

/** One message of history. */
export type Row = Value<typeof row>
/** The name of a packet's type. */
export type PacketName = keyof Schemas
/** The fields of a packet. */
export type PacketFields<N extends PacketName> = Value<Schemas[N][1]>
/** A packet: its type and its fields. */
export type Packet = { [N in PacketName]: { type: N } & PacketFields<N> }[PacketName]

/** Up to how many fields those packets have at least that leave out zeros at their end. */
export const leastFields: Partial<Record<PacketName, number>> = { send: 5, message: 7, copy: 8, group_message: 9 }
