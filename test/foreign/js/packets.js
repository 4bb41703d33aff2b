// The packets of docs/protocol.md that the server sends (13.2): their fields in
// order, each with what nil or absence means (3.2). A field whose zero is a
// bigint may be above 2^53.
import { decodeMulti } from '@msgpack/msgpack'

const none = new Uint8Array()
const row = { id: null, from: '', place: 0n, late: 0, suite: 0, content: none, expires: 0, media: '' }
const chat = { peer: '', delivered: 0n, read: 0n, mine: 0n, last: row }
const server = {
  32: { type: 'welcome', version: 0, now: 0, node: none, user: '', resume: 0n, waiting: 0, heartbeat: 0, expires: 0, limits: {} },
  33: { type: 'accepted', n: 0, count: 0, pos: 0n },
  34: { type: 'refused', n: 0, code: 0, retry: 0, text: '' },
  35: { type: 'message', pos: 0n, gap: 0n, id: null, from: '', late: 0, suite: 0, content: none, expires: 0, media: '' },
  36: { type: 'copy', pos: 0n, gap: 0n, id: null, to: '', late: 0, suite: 0, content: null, place: 0n, expires: 0, media: '' },
  37: { type: 'receipt', pos: 0n, gap: 0n, peer: '', delivered: 0n, read: 0n },
  38: { type: 'caught_up', pos: 0n },
  39: { type: 'truncated', pos: 0n },
  42: { type: 'history_page', req: 0, peer: '', delivered: 0n, read: 0n, more: false, rows: [row] },
  43: { type: 'chats_page', req: 0, more: false, chats: [chat] },
  44: { type: 'outcome', id: null, to: '', code: 0, place: 0n },
  47: { type: 'error', code: 0, retry: 0, text: '', req: 0 },
  48: { type: 'bye', code: 0, retry: 0, url: '', text: '' },
}

/** An element as its zero says: small integers may have come as bigints, and large ones must not become numbers. */
function fit(value, zero) {
  if (Array.isArray(zero)) return (value ?? []).map((each) => fit(each, zero[0]))
  if (value == null) return zero
  if (typeof zero === 'bigint') return BigInt(value)
  if (typeof zero === 'number') return Number(value)
  return Array.isArray(value) ? fields(value, zero) : value
}

function fields(elements, zeros) {
  return Object.fromEntries(Object.entries(zeros).map(([name, zero], i) => [name, fit(elements[i], zero)]))
}

/** The packets of one WebSocket message, without those of unknown types. */
export function* decode(data) {
  for (const [number, ...elements] of decodeMulti(data, { useBigInt64: true })) {
    if (!(number in server)) continue
    const { type, ...zeros } = server[number]
    yield { type, ...fields(elements, zeros) }
  }
}

// Message ids (4.2).

export function makeId(ticks, seq, node) {
  const id = Buffer.alloc(16)
  id.writeUInt32BE(Number(ticks & 0xffffffffn), 0)
  id.writeUInt16BE(Number((ticks >> 32n) & 0xffffn), 4)
  id.writeUInt16BE(Number(ticks >> 48n) | 0x1000, 6)
  id.writeUInt16BE(seq | 0x8000, 8)
  id.set(node, 10)
  return id
}

export function ticksOf(bytes) {
  const id = Buffer.from(bytes)
  return (BigInt(id.readUInt16BE(6) & 0xfff) << 48n) | (BigInt(id.readUInt16BE(4)) << 32n) | BigInt(id.readUInt32BE(0))
}

export const hex = (bytes) => Buffer.from(bytes).toString('hex')
