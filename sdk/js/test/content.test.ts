import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

import { type Body, bodyOf, encodeBody, endOf, itemOf, maxPending, parseBody, Timeline } from '../src/content.ts'
import { ChatError } from '../src/errors.ts'
import type { Chat, HistoryPage, Message } from '../src/events.ts'
import { bytesOfHex, hexOf, makeId, msOfId } from '../src/id.ts'
import { maxUnread, Unread } from '../src/unread.ts'

const vectors = JSON.parse(readFileSync(new URL('../../../docs/vectors/content.json', import.meta.url), 'utf8'))
const kinds = ['newer', 'text', 'edit', 'delete', 'reaction', 'timer'] as const

describe('content.json', () => {
  for (const v of vectors.bodies)
    test(v.name, () => {
      const body = parseBody(bytesOfHex(v.hex))
      expect(body).toEqual({ kind: kinds[v.kind], text: v.text, target: v.target || null, seconds: v.seconds })
      expect(hexOf(encodeBody(body))).toBe(v.hex)
    })
  for (const v of vectors.tolerated) test(v.name, () => expect(hexOf(encodeBody(parseBody(bytesOfHex(v.hex))))).toBe(v.as))
  for (const v of vectors.newer) test(v.name, () => expect(parseBody(bytesOfHex(v.hex)).kind).toBe('newer'))
  for (const v of vectors.refused.filter((each: { strict?: boolean }) => !each.strict)) test(v.name, () => expect(() => parseBody(bytesOfHex(v.hex))).toThrow(ChatError))
})

type Put = { id: string; from: string; hex: string }

/** What a chat shows after messages, as the file has it. */
function told(puts: Put[]): unknown {
  const timeline = new Timeline()
  for (const { id, from, hex } of puts) timeline.put({ id, from, expires: 0 }, parseBody(bytesOfHex(hex)))
  const shows = timeline.items.map(({ id, body, edited, deleted, reactions }) => ({
    id, kind: kinds.indexOf(body.kind as never), text: body.text, target: body.target ?? '', edited: edited !== null, deleted,
    reactions: reactions.filter((r) => r.text !== '').map((r) => [r.user, r.text]),
  }))
  return { shows, timer: timeline.timer }
}

describe('timelines', () => {
  for (const v of vectors.timelines)
    test(v.name, () => {
      for (let turn = 0; turn < v.put.length; turn++) {
        const puts = [...v.put.slice(turn), ...v.put.slice(0, turn)]
        for (const order of [puts, [...puts].reverse()]) expect(told([...order, ...order])).toEqual({ shows: v.shows, timer: v.timer })
      }
    })

  const id = (tick: number) => makeId(139_866_158_450_000_000n + BigInt(tick), 1, '010000000000')
  const text = (s: string): Body => bodyOf('text', { text: s })

  test('pending changes are bounded', () => {
    const timeline = new Timeline()
    for (let i = 0; i <= maxPending; i++) timeline.put({ id: id(10_000), from: 'alice', expires: 0 }, bodyOf('edit', { text: 'edited', target: id(i) }))
    for (const i of [0, 1, maxPending]) timeline.put({ id: id(i), from: 'alice', expires: 0 }, text('sent'))
    expect([0, 1, maxPending].map((i) => timeline.item(id(i))!.body.text)).toEqual(['sent', 'edited', 'edited'])
  })

  test('messages disappear at the earlier of two times', () => {
    const timeline = new Timeline()
    const at = msOfId(id(0))
    timeline.put({ id: id(0), from: 'alice', expires: 0 }, text('stays'))
    timeline.put({ id: id(1), from: 'alice', expires: at + 5000 }, text('the server'))
    timeline.put({ id: id(2), from: 'alice', expires: at + 9_000_000 }, bodyOf('text', { text: 'the sender', seconds: 7 }))
    expect(timeline.expire(at)).toEqual({ gone: [], next: at + 5000 })
    expect(timeline.expire(at + 5000)).toEqual({ gone: [id(1)], next: at + 7000 })
    expect(timeline.expire(at + 7000)).toEqual({ gone: [id(2)], next: 0 })
    expect(timeline.items.map((item) => item.id)).toEqual([id(0)])
    expect(endOf(itemOf({ id: id(0), from: 'alice', expires: 0 }, text('')))).toBe(0)
  })
})

describe('unread', () => {
  const message = (from: string, place: number, to = 'alice'): Message =>
    ({ id: makeId(BigInt(place), 1, '010000000000'), from, to, place: BigInt(place), at: 0, expires: 0, suite: 1, content: null, media: '' })

  test('counts above what was read, each once', () => {
    const unread = new Unread('alice')
    for (const place of [5, 3, 9, 5, 7]) unread.put(message('bob', place))
    unread.put(message('alice', 11))
    unread.put(message('bob', 4, ':sAB34OeHEfCSNIMBAgMEBQ'))
    expect([unread.count('bob'), unread.count(':sAB34OeHEfCSNIMBAgMEBQ'), unread.count('alice')]).toEqual([4, 1, 0])
    unread.read('bob', 6n)
    unread.read('bob', 2n)
    unread.put(message('bob', 4))
    expect(unread.count('bob')).toBe(2)
    unread.read('bob', 9n)
    expect(unread.chats).toEqual([':sAB34OeHEfCSNIMBAgMEBQ'])
    for (let i = 0; i < 2 * maxUnread; i++) unread.put(message('bob', 5000 - i))
    expect(unread.count('bob')).toBe(maxUnread + 1)
  })

  test('loads back to what was read, and no further', async () => {
    let asked = 0
    const chat = (peer: string, from: string, last: number, mine: number): Chat => ({ peer, last: message(from, last), delivered: 0n, read: 0n, mine: BigInt(mine) })
    const unread = new Unread('alice')
    await unread.load(
      {
        chats: async () => ({ chats: [chat('bob', 'bob', 30, 10), chat('carol', 'carol', 8, 8), chat('dave', 'alice', 50, 3)], more: false }),
        history: async (peer, before): Promise<HistoryPage> => {
          asked++
          const top = before ? Number(BigInt(`0x${before.slice(15, 18)}${before.slice(9, 13)}${before.slice(0, 8)}`)) : 31
          const messages = Array.from({ length: 8 }, (_, i) => message(peer, top - 1 - i))
          // What does not count is left out, and where the next page begins is said beside it.
          return { peer, messages: messages.filter((m) => m.place % 2n === 0n), more: true, next: messages.at(-1)!.id, delivered: 0n, read: 0n }
        },
      },
      10,
    )
    expect([unread.count('bob'), unread.count('carol'), unread.count('dave'), asked]).toEqual([10, 0, 14, 7])
  })
})
