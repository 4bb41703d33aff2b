import { expect, test, vi } from 'vitest'

import { Core } from '../src/core.ts'
import { MemoryJournal } from '../src/journal.ts'
import { settingsOf } from '../src/options.ts'
import { decodePackets } from '../src/packets.ts'
import type { Packet } from '../src/schema.ts'
import { take } from '../src/receive.ts'
import type { Session } from '../src/session.ts'
import { Writer } from '../src/write.ts'

const content = new Uint8Array()

/** A client that has sent messages, all in one session without a server. */
async function sender(count: number) {
  const core = await Core.open(settingsOf({ url: 'ws://x', user: 'alice', device: 'phone', token: () => '', WebSocket: class {} }), new MemoryJournal())
  core.identify('010203040506', BigInt(Date.now()))
  core.outbox.begin()
  const sent = Array.from({ length: count }, () => core.enqueue({ n: 0n, id: null, to: 'bob', suite: 0, content, flags: 0, ttl: 0, media: '' }, null).sent)
  const write = () => {
    while (core.outbox.take(Infinity, Infinity, Infinity));
  }
  write()
  const watches = { watching: new Map(), strangers: new Set<string>(), unwatched: new Set<string>() }
  const session = { core, welcomed: true, reach: 0n, marked: 0n, unsentReads: new Map(), wake() {}, answered() {}, ...watches } as unknown as Session
  return { core, sent, write, watches, session, take: (p: Packet) => take(session, p) }
}

/** A position of the epoch after the one in which sends were accepted. */
const at = (offset: bigint) => (1n << 48n) + offset

test("the owner's word before the acceptance", async () => {
  const { core, sent, take } = await sender(3)
  const [first, refused, copied] = sent as [(typeof sent)[0], (typeof sent)[0], (typeof sent)[0]]
  take({ type: 'outcome', id: first.id, to: 'bob', code: 0, place: at(5n) })
  take({ type: 'outcome', id: refused.id, to: 'bob', code: 201, place: 0n })
  take({ type: 'copy', pos: 1n, gap: 1n, id: copied.id, to: 'bob', place: at(6n), late: 0n, suite: 0, content, expires: 0n, media: '' })
  take({ type: 'receipt', pos: 2n, gap: 1n, peer: 'bob', delivered: at(4n), read: 0n })
  expect(sent.map((s) => s.status)).toEqual(['pending', 'pending', 'pending'])
  take({ type: 'accepted', n: 3n, count: 3n, pos: 9n })
  expect([first.place, copied.place]).toEqual([at(5n), at(6n)])
  expect([first.status, copied.status]).toEqual(['sent', 'sent'])
  await expect(refused.durable()).rejects.toThrow('could not store it')
  take({ type: 'receipt', pos: 3n, gap: 1n, peer: 'bob', delivered: at(5n), read: 0n })
  expect([first.status, copied.status]).toEqual(['delivered', 'sent'])
  expect(core.outbox.items).toEqual([])
})

test('of an id that was used again the newest is refused', async () => {
  const { core, sent, take, write } = await sender(1)
  const { id } = sent[0]!
  const other = core.enqueue({ n: 0n, id, to: 'bob', suite: 0, content: new Uint8Array(1), flags: 0, ttl: 0, media: '' }, null).sent
  write()
  take({ type: 'outcome', id, to: 'bob', code: 201, place: 0n })
  take({ type: 'accepted', n: 2n, count: 2n, pos: 9n })
  await sent[0]!.durable()
  await expect(other.durable()).rejects.toThrow('could not store it')
})

test('of an id that was used again the newest is refused, also when the first is accepted already', async () => {
  const { core, sent, take, write } = await sender(1)
  const { id } = sent[0]!
  const other = core.enqueue({ n: 0n, id, to: 'bob', suite: 0, content: new Uint8Array(1), flags: 0, ttl: 0, media: '' }, null).sent
  write()
  take({ type: 'accepted', n: 1n, count: 1n, pos: 9n })
  take({ type: 'outcome', id, to: 'bob', code: 201, place: 0n })
  take({ type: 'accepted', n: 2n, count: 1n, pos: 10n })
  await sent[0]!.durable()
  await expect(other.durable()).rejects.toThrow('could not store it')
  expect(sent[0]!.error).toBe(null)
})

test('what is sent again is judged again', async () => {
  const { core, sent, write, take } = await sender(1)
  take({ type: 'outcome', id: sent[0]!.id, to: 'bob', code: 201, place: 0n })
  core.outbox.end()
  core.outbox.begin()
  write()
  take({ type: 'accepted', n: 1n, count: 1n, pos: at(8n) })
  expect(sent[0]!.place).toBe(at(8n))
  await sent[0]!.durable()
})

test('copies of what this client sent are kept and marked, though the app does not see them', async () => {
  const { core, sent, take } = await sender(2)
  take({ type: 'accepted', n: 2n, count: 2n, pos: 9n })
  for (const [i, s] of sent.entries()) {
    take({ type: 'copy', pos: BigInt(i + 1), gap: 1n, id: s.id, to: 'bob', place: at(BigInt(i)), late: 0n, suite: 0, content, expires: 0n, media: '' })
  }
  expect(core.inbox.next()).toBeNull()
  await vi.waitFor(() => expect(core.inbox.kept).toBe(2n))
})

test('news of a user while a watch of them waits: a refusal may be older, and it is asked for again', async () => {
  const { watches, take } = await sender(0)
  const refused: Packet = { type: 'error', req: 1n, code: 102, text: 'no chat', retry: 0n }
  watches.watching.set(1n, { user: 'bob', news: false })
  take({ type: 'receipt', pos: 1n, gap: 1n, peer: 'bob', delivered: at(4n), read: 0n })
  take(refused)
  expect([...watches.unwatched]).toEqual(['bob'])
  watches.unwatched.clear()
  watches.watching.set(1n, { user: 'bob', news: false })
  take(refused)
  expect([...watches.unwatched]).toEqual([])
  take({ type: 'receipt', pos: 2n, gap: 1n, peer: 'carol', delivered: at(4n), read: 0n })
  expect([...watches.unwatched]).toEqual([])
  take({ type: 'receipt', pos: 3n, gap: 1n, peer: 'bob', delivered: at(5n), read: 0n })
  expect([...watches.unwatched]).toEqual(['bob'])
})

test('who is no longer watched is not asked for, also when their refusal came later', async () => {
  const { core, watches, session } = await sender(0)
  const written: Packet[] = []
  const settings = { heartbeatMs: 1e6, heardAt: performance.now(), calmUntil: 0, buffered: 0, requests: 8, limits: {}, pace: { take() {}, waitMs: () => 0 } }
  const writer = new Writer(Object.assign(session, settings, { unsentReads: new Set(), write: (b: Uint8Array) => written.push(...decodePackets(b)) }))
  for (const user of ['bob', 'carol']) watches.unwatched.add(user)
  core.watched.add('carol')
  writer.wake()
  await vi.waitFor(() => expect(watches.unwatched.size).toBe(0))
  writer.stop()
  expect(written).toMatchObject([{ type: 'watch', users: ['carol'] }])
})
