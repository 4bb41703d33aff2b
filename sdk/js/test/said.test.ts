// What encrypted messages say: replies, edits, deletions, reactions, timers; what is unread; who is blocked.
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { type Body, bodyOf, type Client, counts, type MessageId, PlainClient, saidOf, type SendOptions, Timeline, typeContent, Unread } from '../src/index.ts'
import { dir, fresh, next, openDevice, options, Server, text } from './world.ts'

let server: Server
const device = (user: string, name: string) => openDevice(server, user, name)
/** What is durable is stored a moment later. */
const soon = { timeout: 30_000 }

beforeAll(async () => {
  server = await Server.start()
})

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true })
})

async function says(c: Client, to: string, body: Body, more: SendOptions = {}): Promise<MessageId> {
  const sent = await c.sendBody(to, body, more)
  await sent.durable()
  return sent.id
}

/** Puts the next n messages into a timeline. */
async function hears(c: Client, n: number, timeline = new Timeline()): Promise<Timeline> {
  while (n > 0) {
    const event = await c.receive()
    if (event.type === 'problem') throw event.error
    const said = saidOf(event)
    if (said) timeline.put(said.message, said.body)
    if (said) n--
  }
  c.handled()
  return timeline
}

/** A timeline of history alone, in pages from the newest back. */
async function history(c: Client, peer: string, limit: number): Promise<Timeline> {
  const timeline = new Timeline()
  for (let before: MessageId | null = null; ; ) {
    const page: Awaited<ReturnType<Client['saidBefore']>> = await c.saidBefore(peer, before, limit)
    page.messages.forEach((m, i) => timeline.put(m, page.bodies[i]!))
    before = page.next
    if (!before) return timeline
  }
}

function show(timeline: Timeline): string[] {
  return timeline.items.map(({ from, body, edited, deleted, reactions }) => {
    const who = from.split('-')[0]!
    const about = body.target && timeline.item(body.target)
    const line = deleted ? `${who} deleted this` : body.kind === 'timer' ? `${who}: ${body.seconds} s` : `${who}: ${body.text}`
    const more = reactions.filter((r) => r.text).map((r) => ` ${r.text}${r.user.split('-')[0]}`)
    return line + (edited ? ' (edited)' : '') + (about ? ` > ${about.body.text}` : '') + more.join('')
  })
}

test('reply, edit, delete, react: what two users and a second device see, and what history makes of it', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await device(alice, 'phone')
  const tablet = await device(alice, 'tablet')
  const b = await device(bob, 'phone')
  const first = await says(a, bob, bodyOf('text', { text: 'helo' }))
  const atBobs = await hears(b, 1)
  const reply = await says(b, alice, bodyOf('text', { text: 'hi', target: first }))
  await says(b, alice, bodyOf('reaction', { text: '👍', target: first }))
  const regretted = await says(a, bob, bodyOf('text', { text: 'regretted' }))
  await says(a, bob, bodyOf('edit', { text: 'hello', target: first }))
  await says(a, bob, bodyOf('delete', { target: regretted }))
  // What is not hers is not hers to change.
  await says(a, bob, bodyOf('edit', { text: 'forged', target: reply }))
  await says(a, bob, bodyOf('delete', { target: reply }))
  await says(a, bob, bodyOf('reaction', { text: '🎉', target: reply }))
  await hears(b, 6, atBobs)
  await hears(a, 2) // with them comes the key, which history takes
  // A device does not hear what it sent itself: its app puts that in.
  atBobs.put({ id: reply, from: bob, expires: 0 }, bodyOf('text', { text: 'hi', target: first }))
  const want = ['alice: hello (edited) 👍bob', 'bob: hi > hello 🎉alice', 'alice deleted this']
  expect(show(await hears(tablet, 9))).toEqual(want)
  expect(show(atBobs)).toEqual(['alice: hello (edited)', ...want.slice(1)])
  for (const limit of [1, 2, 100]) {
    await expect.poll(async () => show(await history(b, alice, limit)), soon).toEqual(want)
    await expect.poll(async () => show(await history(a, bob, limit)), soon).toEqual(want)
  }
  await Promise.all([a, tablet, b].map((each) => each.close()))
})

test('a kind of a later version says that; a body that cannot be is not sent', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const [a, b] = await Promise.all([device(alice, 'phone'), device(bob, 'phone')])
  for (const content of [Uint8Array.of(0x92, 1, 0x7f), Uint8Array.of(0x91, 9), 'no array']) {
    await a.sendTyped(bob, typeContent, content)
    expect(saidOf(await next(b, 'typed'))?.body.kind).toBe('newer')
  }
  await expect(a.sendBody(bob, bodyOf('edit', { text: 'x' }))).rejects.toMatchObject({ codeName: 'bad_packet' })
  await expect(a.sendBody(bob, bodyOf('newer'))).rejects.toMatchObject({ codeName: 'bad_packet' })
  await Promise.all([a.close(), b.close()])
})

test('a message disappears: its end comes from its sender and from the server, which has it no more', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const [a, b] = await Promise.all([device(alice, 'phone'), device(bob, 'phone')])
  const stays = await says(b, alice, bodyOf('text', { text: 'stays' })) // of before the timer
  await says(a, bob, bodyOf('timer', { seconds: 2 }))
  const timeline = await hears(b, 1)
  expect(timeline.timer).toBe(2)
  const id = await says(a, bob, bodyOf('text', { text: 'soon gone' }), { ttlSeconds: timeline.timer })
  await hears(b, 1, timeline)
  const item = timeline.item(id)!
  expect([item.body.seconds, item.expires > 0]).toEqual([2, true])
  const { next: end } = timeline.expire(0)
  expect(timeline.expire(end - 1).gone).toEqual([])
  expect(timeline.expire(end)).toEqual({ gone: [id], next: 0 })
  const left = async () => (await history(b, alice, 100)).items.map((each) => each.id)
  await expect.poll(left, soon).not.toContain(id)
  expect(await left()).toContain(stays)
  await Promise.all([a.close(), b.close()])
})

test('what is unread is what no device of the user has read, and changes are not counted', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await device(alice, 'phone')
  const tablet = await device(alice, 'tablet')
  const b = await device(bob, 'phone')
  const first = await says(b, alice, bodyOf('text', { text: 'one' }))
  await says(b, alice, bodyOf('text', { text: 'two' }))
  await says(b, alice, bodyOf('reaction', { text: 'x', target: first }))
  await says(b, alice, bodyOf('edit', { text: '1', target: first }))
  const unread = new Unread(alice)
  const places: bigint[] = []
  while (places.length < 4) {
    const said = saidOf(await a.receive())
    if (!said) continue
    places.push(said.message.place)
    if (counts(said.body)) unread.put(said.message)
  }
  a.handled()
  expect(unread.count(bob)).toBe(2)
  a.markRead(bob, places[0]!)
  await hears(tablet, 4)
  const loaded = async (c: Client) => {
    const all = new Unread(alice)
    await c.loadUnread(all, 10)
    return all.count(bob)
  }
  await expect.poll(() => loaded(tablet), soon).toBe(1) // until the server has the mark
  await says(tablet, bob, bodyOf('text', { text: 'an answer' }))
  expect(await loaded(tablet)).toBe(1)
  await Promise.all([a, tablet, b].map((each) => each.close()))
})

test('who is blocked is not heard, on no device, and learns nothing of it', async () => {
  const [alice, bob, carol] = [fresh('alice'), fresh('bob'), fresh('carol')]
  const a = await device(alice, 'phone')
  const tablet = await device(alice, 'tablet')
  const b = await device(bob, 'phone')
  const stranger = await PlainClient.connect(options(server, carol))
  await (await b.send(alice, 'before')).durable()
  for (const c of [a, tablet]) expect(text((await next(c, 'message')).message)).toBe('before')
  const change = await a.block([bob, carol])
  await change.durable()
  for (const c of [a, tablet]) {
    const { users, blocked, at } = await next(c, 'blocks')
    expect([users, blocked, at]).toEqual([[bob, carol], true, change.place])
  }
  const hidden = await b.send(alice, 'hidden')
  await hidden.durable()
  expect(await tablet.blocked()).toEqual([bob, carol].sort())
  await (await a.unblock([bob, carol])).durable()
  expect(await next(tablet, 'blocks')).toMatchObject({ users: [bob, carol], blocked: false })
  expect(await tablet.blocked()).toEqual([])
  await (await b.send(alice, 'after')).durable()
  for (const c of [a, tablet]) expect(text((await next(c, 'message')).message)).toBe('after')
  await expect.poll(async () => (await a.history(bob)).messages.map(text), soon).toEqual(['after', 'before'])
  await expect(a.block(['no name'])).rejects.toMatchObject({ codeName: 'bad_name' })
  await expect(a.unblock([])).rejects.toMatchObject({ codeName: 'bad_change' })
  const many = Array.from({ length: 1001 }, (_, i) => `u${i}`)
  const refused = await stranger.block(many)
  for (;;) {
    const event = await stranger.receive()
    if (event.type !== 'problem') continue
    expect([event.id, (event.error as { codeName?: string }).codeName]).toEqual([refused.id, 'too_many'])
    break
  }
  await Promise.all([a, tablet, b, stranger].map((each) => each.close()))
})
