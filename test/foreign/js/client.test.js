// The client against a server. scripts/foreign.sh starts the server and says where it is:
//
// ROOKERY_URL     ws://host:port
// ROOKERY_TOKENS  a JSON file: user to token, with users js-01, js-02 ... to use up
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import WebSocket from 'ws'
import { Client, Store } from './client.js'
import { hex, makeId, ticksOf } from './packets.js'

const url = process.env.ROOKERY_URL
const tokens = JSON.parse(readFileSync(process.env.ROOKERY_TOKENS, 'utf8'))
const freshUsers = Object.keys(tokens).filter((user) => /^js-\d+$/.test(user))

/** A user with one device, connected or not. */
class Person {
  constructor(t, user = freshUsers.shift(), device = 'laptop') {
    Object.assign(this, { t, user, store: new Store(device) })
  }

  async online() {
    const client = await Client.open(url, this.user, tokens[this.user], this.store)
    this.t.after(() => client.close())
    return client
  }
}

const text = (packet) => Buffer.from(packet.content).toString()
const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => `${from + i}`)
const sendAll = (client, to, contents) => contents.map((content) => client.send(to, content))
const accepted = (client, ...sends) => client.until(() => sends.every((send) => send.place !== null))
const messages = (client) => client.unread.filter((p) => p.type === 'message').map(text)

async function receive(client, count) {
  const got = []
  while (got.length < count) got.push(text(await client.wait('message')))
  return got
}

/** The chat, oldest first, and how many pages it took. */
async function allHistory(client, peer, limit = 0) {
  const rows = []
  let page
  let pages = 0
  do {
    page = await client.history(peer, rows.at(-1)?.id, limit)
    rows.push(...page.rows)
    pages++
  } while (page.more)
  return { contents: rows.reverse().map(text), pages }
}

async function both(t) {
  const people = { alice: new Person(t), bob: new Person(t) }
  return { ...people, a: await people.alice.online(), b: await people.bob.online() }
}

test('the id of the document', () => {
  const id = makeId(0x1f0e787b282c080n, 0x1234, Buffer.from('830102030405', 'hex'))
  assert.equal(hex(id), 'b282c080e78711f09234830102030405')
  assert.equal(ticksOf(id), 0x1f0e787b282c080n)
})

test('exchange with the other client', async (t) => {
  // The same test runs in Python at the same time.
  const [me, peer] = [new Person(t, 'js-exchange'), 'py-exchange']
  const client = await me.online()
  const ping = client.send(peer, 'ping from js-exchange')
  const got = await client.wait('message')
  assert.deepEqual([got.from, text(got)], [peer, 'ping from py-exchange'])
  const pong = client.send(peer, 'pong from js-exchange')
  const back = await client.wait('message')
  assert.deepEqual([back.from, text(back)], [peer, 'pong from py-exchange'])
  client.read(peer, back.pos)
  await accepted(client, ping, pong)
  await client.until(() => me.store.receipt(peer).read >= pong.place)
})

test('sends are received in order and receipts come back', async (t) => {
  const { alice, bob, a, b } = await both(t)
  const sends = sendAll(a, bob.user, numbers(0, 50))
  await accepted(a, ...sends)
  assert.equal(alice.store.outbox.size, 0)
  const got = []
  for (const _ of sends) got.push(await b.wait('message'))
  assert.deepEqual(
    got.map((p) => [hex(p.id), text(p), p.pos, p.from]),
    sends.map((s) => [hex(s.id), s.content.toString(), s.place, alice.user]),
  )
  await a.until(() => alice.store.receipt(bob.user).delivered >= sends.at(-1).place)
  assert.ok(alice.store.receipt(bob.user).read < sends[0].place)
  b.read(alice.user, got[30].pos)
  await a.until(() => alice.store.receipt(bob.user).read >= sends[30].place)
  assert.ok(alice.store.receipt(bob.user).read < sends[31].place)
})

test('resumes from its position without loss or repeat', async (t) => {
  const { bob, a, b } = await both(t)
  await accepted(a, ...sendAll(a, bob.user, numbers(0, 10)))
  const got = await receive(b, 10)
  await b.drop()
  await accepted(a, ...sendAll(a, bob.user, numbers(10, 20)))
  const again = await bob.online()
  a.send(bob.user, '20')
  got.push(...(await receive(again, 11)))
  assert.deepEqual(got, numbers(0, 21))
  assert.deepEqual(messages(again), [])
})

test('the client knows its position better than the server', async (t) => {
  const { alice, bob, a, b } = await both(t)
  const sends = sendAll(a, bob.user, ['1', '2', '3'])
  await receive(b, 3)
  await a.until(() => sends[2].place !== null && alice.store.receipt(bob.user).delivered >= sends[2].place) // all marked
  await b.drop()
  bob.store.mine = sends[0].place // as if a crash had lost the rest
  const again = await bob.online()
  assert.equal(again.welcome.resume, sends[0].place)
  await again.wait('caught_up')
  assert.deepEqual(messages(again), ['2', '3'])
})

test('what was persisted before a disconnect is delivered by a mark after it', async (t) => {
  const { alice, bob, a, b } = await both(t)
  const sent = a.send(bob.user, 'a message')
  b.mark = () => {}
  await b.wait('message')
  await b.drop()
  const again = await bob.online()
  await again.wait('caught_up') // and marks
  await accepted(a, sent)
  await a.until(() => alice.store.receipt(bob.user).delivered >= sent.place, 5_000)
})

test('an offline receiver catches up', async (t) => {
  const [alice, bob] = [new Person(t), new Person(t)]
  const a = await alice.online()
  const sends = sendAll(a, bob.user, numbers(0, 30))
  await accepted(a, ...sends)
  while ((await allHistory(a, bob.user)).contents.length < 30); // accepted is durable, and stored a moment later
  const b = await bob.online()
  assert.equal(b.welcome.waiting, 30)
  const caughtUp = await b.wait('caught_up')
  assert.deepEqual(messages(b), numbers(0, 30))
  assert.ok(caughtUp.pos >= sends.at(-1).place)
})

test('receipts of the time away come with the catch-up', async (t) => {
  const { alice, bob, a, b } = await both(t)
  const sent = a.send(bob.user, 'are you there?')
  await accepted(a, sent)
  await a.drop()
  b.read(alice.user, (await b.wait('message')).pos)
  await b.chats() // the read has been worked on
  const again = await alice.online()
  await again.until(() => alice.store.receipt(bob.user).read >= sent.place)
})

test('history and chats by pages', async (t) => {
  const { alice, bob, a, b } = await both(t)
  const carol = new Person(t)
  for (const content of numbers(0, 13)) await accepted(a, a.send(bob.user, content))
  await receive(b, 13)
  const answer = b.send(alice.user, '13') // its id is above what it answers
  await accepted(b, answer)
  await a.wait('message') // so the next id is above it
  await accepted(a, a.send(carol.user, 'hello carol'))
  const { contents, pages } = await allHistory(a, bob.user, 5)
  assert.deepEqual(contents, numbers(0, 14))
  assert.ok(pages >= 3)
  const first = await a.chats(null, 1)
  assert.deepEqual([first.chats.map((chat) => chat.peer), first.more], [[carol.user], true])
  const second = await a.chats(first.chats[0].last.id, 1)
  assert.deepEqual([second.chats.map((chat) => chat.peer), second.more], [[bob.user], false])
  const all = await a.chats()
  assert.deepEqual(
    all.chats.map((chat) => [chat.peer, text(chat.last)]),
    [[carol.user, 'hello carol'], [bob.user, '13']],
  )
  assert.equal(all.chats[1].last.place, answer.place)
  assert.deepEqual((await a.history('nobody')).rows, [])
})

test('a retry is not doubled', async (t) => {
  const { alice, bob, a, b } = await both(t)
  const sends = sendAll(a, bob.user, ['once', 'only'])
  await accepted(a, ...sends)
  const places = sends.map((s) => s.place)
  await a.drop()
  for (const sent of sends) { // as if the accepted had been lost
    sent.place = null
    alice.store.outbox.set(hex(sent.id), sent)
  }
  const again = await alice.online()
  for (const [i, sent] of sends.entries()) {
    const { id, code, place } = await again.wait('outcome')
    assert.deepEqual([hex(id), code, place], [hex(sent.id), 0, places[i]])
  }
  await again.until(() => alice.store.outbox.size === 0)
  await accepted(again, again.send(bob.user, 'next'))
  assert.deepEqual(await receive(b, 3), ['once', 'only', 'next'])
  assert.deepEqual((await allHistory(b, alice.user)).contents, ['once', 'only', 'next'])
})

test('other bytes under an old id are told and not stored', async (t) => {
  const { alice, bob, a, b } = await both(t)
  const sent = a.send(bob.user, 'the truth')
  await accepted(a, sent)
  await a.drop()
  sent.content = Buffer.from('a lie')
  alice.store.outbox.set(hex(sent.id), sent)
  const again = await alice.online()
  const { id, code, place } = await again.wait('outcome')
  assert.deepEqual([hex(id), code, place], [hex(sent.id), 8, sent.place])
  assert.deepEqual((await allHistory(b, alice.user)).contents, ['the truth'])
})

test('a refused send is given up and the others go on', async (t) => {
  const { bob, a, b } = await both(t)
  const tooLarge = Buffer.alloc(a.welcome.limits.content + 1)
  const [one, large, two] = sendAll(a, bob.user, ['1', tooLarge, '2'])
  const unnamed = a.send('not a name', 'x')
  const three = a.send(bob.user, '3')
  await accepted(a, one, two, three)
  assert.deepEqual([large.refused, large.place, unnamed.refused, unnamed.place], [3, null, 9, null])
  assert.deepEqual(await receive(b, 3), ['1', '2', '3'])
})

test('sends over the rate are retried in order', async (t) => {
  const { bob, a, b } = await both(t)
  const contents = numbers(0, Number(a.welcome.limits.burst) + 400)
  const sends = sendAll(a, bob.user, contents)
  assert.ok([1, 2].includes((await a.wait('refused')).code))
  assert.deepEqual(await receive(b, contents.length), contents)
  await accepted(a, ...sends)
})

test('a second device gets copies', async (t) => {
  const { alice, bob, a } = await both(t)
  const web = await new Person(t, alice.user, 'web-7f3a').online()
  const sent = a.send(bob.user, 'from the laptop')
  const [there, own] = [await web.wait('copy'), await a.wait('copy')]
  assert.deepEqual([hex(there.id), there.to, text(there)], [hex(sent.id), bob.user, 'from the laptop'])
  assert.deepEqual([hex(own.id), own.content, own.place], [hex(sent.id), null, there.place])
})

test('a newer session of the device replaces the older', async (t) => {
  const { alice, a } = await both(t)
  await alice.online()
  await a.ended()
  assert.deepEqual([a.bye.code, a.closed], [202, 4202])
})

test('no token, no session', async () => {
  const ws = new WebSocket(`${url}/ws/${freshUsers[0]}`, ['rookery.v1', 'rookery.token.not.a.token'])
  const body = await new Promise((resolve, reject) => {
    ws.on('open', () => reject(new Error('let in')))
    ws.on('unexpected-response', async (_, response) => resolve(`${response.statusCode} ${await response.toArray()}`))
  })
  assert.match(body, /^401 unauthorized: /)
})
