import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { type Change, type ClientEvent, type ClientOptions, type Member, type Message, parseChange, PlainClient, type Sent } from '../src/index.ts'
import { FileJournal } from '../src/node/index.ts'
import { data, dir, fresh, next, options as optionsOf, rookery, Server, text } from './world.ts'

let server: Server
const connect = (user: string, more: Partial<ClientOptions> = {}) => PlainClient.connect(optionsOf(server, user, more))

beforeAll(async () => {
  server = await Server.start()
})

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true })
})

/** The command line, which is the Go SDK, as a user. */
const go = (user: string, ...args: string[]) =>
  execFileSync(rookery, [...args, '--as', user, '--url', server.url, '--data', data, '--plain'], { encoding: 'utf8', env: { ...process.env, ROOKERY_BIN: undefined } }).trim()

const goMembers = (user: string, group: string) =>
  go(user, 'group', 'list', group, '--json').split('\n').map((line) => JSON.parse(line) as { user: string; admin: boolean })

/** A message to a group as one line: what it says, or what it changes. */
function lineOf(m: Message): string {
  if (m.suite !== 3) return `${m.from}: ${text(m)}`
  const { verb, users }: Change = parseChange(m.content!)
  return [`${m.from} ${verb}`, ...users].join(' ')
}

/** The next n messages to a group, as lines. */
async function lines(c: PlainClient, n: number): Promise<string[]> {
  const got: string[] = []
  while (got.length < n) got.push(lineOf((await next(c, 'group_message')).message))
  c.handled()
  return got
}

const bytes = (s: string) => new TextEncoder().encode(s)
const admins = (members: Member[]) => members.map(({ user, admin }) => (admin ? `${user}*` : user))

/** Why a group did not take a change. */
async function whyNot(c: PlainClient, sent: Sent): Promise<string> {
  for (;;) {
    const event: ClientEvent = await c.receive()
    if (event.type === 'problem' && event.id === sent.id) return (event.error as Error & { codeName: string }).codeName
  }
}

test('create, invite, admin, remove, leave: everybody sees each of them in the order of the messages', async () => {
  const [alice, bob, carol] = [fresh('alice'), fresh('bob'), fresh('carol')]
  const [a, b, c] = await Promise.all([connect(alice), connect(bob), connect(carol)])
  const { group, sent } = await a.createGroup(bytes('cliff'), [bob])
  await sent.durable()
  expect(await lines(b, 1)).toEqual([`${alice} create ${bob}`])
  let page = await b.group(group)
  expect([page.group, text({ content: page.info } as Message), admins(page.members), page.more]).toEqual([group, 'cliff', [`${alice}*`, bob], false])
  await (await a.send(group, 'before carol')).durable()
  await (await a.changeGroup(group, 'add', [carol])).durable()
  await (await b.send(group, 'to all')).durable()
  expect(await lines(c, 2)).toEqual([`${alice} add ${carol}`, `${bob}: to all`])
  await (await a.changeGroup(group, 'admin', [bob])).durable()
  await (await b.changeGroup(group, 'member', [alice])).durable()
  await (await b.setGroupInfo(group, null)).durable()
  await (await b.changeGroup(group, 'remove', [alice])).durable()
  await (await b.send(group, 'without alice')).durable()
  await (await c.changeGroup(group, 'leave')).durable()
  await (await b.send(group, 'alone')).durable()
  const changes = [`${alice} admin ${bob}`, `${bob} member ${alice}`, `${bob} info`, `${bob} remove ${alice}`]
  expect(await lines(c, 5)).toEqual([...changes, `${bob}: without alice`])
  // Her own messages and changes are copies, which her device knows. She gets nothing after her removal.
  expect(await lines(a, 4)).toEqual([`${bob}: to all`, ...changes.slice(1)])
  await (await b.send(alice, 'to you alone')).durable()
  await (await b.send(carol, 'to you alone')).durable()
  expect(text((await next(a, 'message')).message)).toBe('to you alone')
  expect(text((await next(c, 'message')).message)).toBe('to you alone')
  page = await b.group(group)
  expect([admins(page.members), page.info.length]).toEqual([[`${bob}*`], 0])
  await expect(a.group(group)).rejects.toMatchObject({ codeName: 'forbidden' })
  // History is what was sent while one was a member.
  // In the order of places: ids, by which history comes, are of the devices' clocks.
  const seen = async (who: PlainClient) => (await who.history(group)).messages.sort((x, y) => Number(x.place - y.place)).map(lineOf)
  const soon = { timeout: 30_000 } // durable, and stored a moment later
  await expect.poll(() => seen(c), soon).toEqual([`${alice} add ${carol}`, `${bob}: to all`, ...changes, `${bob}: without alice`, `${carol} leave`])
  await expect.poll(() => seen(a), soon).toEqual([`${alice} create ${bob}`, `${alice}: before carol`, `${alice} add ${carol}`, `${bob}: to all`, ...changes])
  const chats = async () => (await b.chats()).chats.map((each) => each.peer)
  await expect.poll(chats, soon).toContain(group)
  await Promise.all([a.close(), b.close(), c.close()])
})

test('what a group does not take is a problem with its code', async () => {
  const [alice, bob, dave] = [fresh('alice'), fresh('bob'), fresh('dave')]
  const [a, b, d] = await Promise.all([connect(alice), connect(bob), connect(dave)])
  const { group } = await a.createGroup(null, [bob])
  await next(b, 'group_message')
  expect(await whyNot(b, await b.changeGroup(group, 'add', [dave]))).toBe('not_admin')
  expect(await whyNot(a, await a.changeGroup(group, 'admin', [dave]))).toBe('bad_change')
  const stranger = await d.send(group, 'let me in')
  expect(await whyNot(d, stranger)).toBe('not_member')
  await stranger.durable().catch(() => {}) // what became of it may be known before that it was taken
  expect(stranger.error).toMatchObject({ codeName: 'not_member' })
  const many = Array.from({ length: 1024 }, (_, i) => `u${i}`)
  expect(await whyNot(a, await a.changeGroup(group, 'add', many))).toBe('group_full')
  expect(await whyNot(a, await a.setGroupInfo(group, new Uint8Array(16385)))).toBe('too_large')
  await expect(a.changeGroup(bob, 'leave')).rejects.toMatchObject({ codeName: 'bad_name' })
  await expect(a.group(bob)).rejects.toMatchObject({ codeName: 'bad_name' })
  await expect(a.changeGroup(group, 'leave', [bob])).rejects.toMatchObject({ codeName: 'bad_change' })
  expect(admins((await a.group(group)).members)).toEqual([`${alice}*`, bob])
  await Promise.all([a.close(), b.close(), d.close()])
})

test('ticks are of all: delivered and read when the last one has; members say how many', async () => {
  const [alice, bob, carol] = [fresh('alice'), fresh('bob'), fresh('carol')]
  const [a, b] = await Promise.all([connect(alice), connect(bob)])
  const { group } = await a.createGroup(null, [bob, carol])
  const sent = await a.send(group, 'hello')
  await sent.durable() // b may have it before a knows its place
  await lines(b, 2)
  b.markRead(group, sent.place)
  const have = async () => (await a.group(group)).members.filter((m) => m.user !== alice && m.since <= sent.place && sent.place <= m.read).map((m) => m.user)
  await expect.poll(have, { timeout: 30_000 }).toEqual([bob])
  expect(sent.status).toBe('sent') // carol was never here
  const c = await connect(carol)
  await lines(c, 2)
  await sent.delivered()
  c.markRead(group, sent.place)
  await sent.read()
  await expect.poll(have, { timeout: 30_000 }).toEqual([bob, carol]) // a receipt does not wait for the row of the page
  await Promise.all([a.close(), b.close(), c.close()])
})

test('members come in pages', async () => {
  const alice = fresh('alice')
  const a = await connect(alice)
  const others = ['a1', 'a2', 'b1', 'b2', 'c1'].map((name) => `${name}-${alice}`)
  const { group, sent } = await a.createGroup(null, others)
  await sent.durable()
  const all: string[] = []
  for (let more = true; more; ) {
    const page = await a.group(group, all.at(-1), 2).catch(() => ({ members: [], more: true })) // until it is made
    all.push(...page.members.map((m) => m.user))
    more = page.more
  }
  expect(all).toEqual([...others, alice].sort())
  await a.close()
})

test('Go and TypeScript in one group: each makes one, changes the other one, reads and writes in it', async () => {
  const [alice, bob, carol] = [fresh('alice'), fresh('bob'), fresh('carol')]
  const a = await connect(alice)
  const { group } = await a.createGroup(null, [bob])
  await expect.poll(() => a.group(group).then((page) => page.members.length, () => 0)).toBe(2)
  expect(goMembers(bob, group)).toMatchObject([{ user: alice, admin: true }, { user: bob, admin: false }])
  await (await a.changeGroup(group, 'admin', [bob])).durable()
  go(bob, 'group', 'invite', group, carol)
  go(carol, 'send', '--to', group, '--wait', 'durable', 'from Go')
  expect(await lines(a, 2)).toEqual([`${bob} add ${carol}`, `${carol}: from Go`])
  const sent = await a.send(group, 'from Node')
  await sent.durable()
  expect(go(carol, 'history', '--with', group)).toContain('from Node')
  go(bob, 'group', 'remove', group, carol)
  go(bob, 'group', 'leave', group)
  expect(await lines(a, 2)).toEqual([`${bob} remove ${carol}`, `${bob} leave`])

  const theirs = go(bob, 'group', 'create', alice)
  expect(await lines(a, 1)).toEqual([`${bob} create ${alice}`])
  go(bob, 'group', 'admin', theirs, alice)
  await (await a.changeGroup(theirs, 'add', [carol])).durable()
  await expect.poll(() => goMembers(bob, theirs).map((m) => m.user)).toEqual([alice, bob, carol])
  await (await a.changeGroup(theirs, 'leave')).durable()
  await expect.poll(() => goMembers(bob, theirs).map((m) => m.user)).toEqual([bob, carol])
  await a.close()
})

test('over a killed server: a change waits in the outbox, who was away gets all in order, once', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const path = join(dir, `${alice}.journal`)
  const a = await connect(alice, { journal: new FileJournal(path) })
  const { group } = await a.createGroup(null, [bob])
  const id = await a.newId()
  await server.kill()
  const total = 50
  for (let i = 0; i < total; i++) await a.send(group, String(i))
  await a.send(group, 'once', { id })
  await a.changeGroup(group, 'remove', [bob])
  await a.send(group, 'for nobody')
  await a.close()
  server = await server.again()
  const again = await connect(alice, { journal: new FileJournal(path) })
  await again.outbox.at(-1)?.durable()
  await (await again.send(bob, 'the end')).durable()
  const b = await connect(bob)
  const texts = Array.from({ length: total }, (_, i) => `${alice}: ${i}`)
  const [got, direct]: [string[], string[]] = [[], []]
  while (got.length < total + 3 || direct.length === 0) {
    const e = await b.receive()
    if (e.type === 'group_message') got.push(lineOf(e.message))
    if (e.type === 'message') direct.push(text(e.message)) // chats have no order among them: the group may still be fanned out
  }
  expect(got).toEqual([`${alice} create ${bob}`, ...texts, `${alice}: once`, `${alice} remove ${bob}`])
  expect(direct).toEqual(['the end'])
  await Promise.all([again.close(), b.close()])
})
