import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { type ClientOptions, PlainClient } from '../src/index.ts'
import { FileJournal } from '../src/node/index.ts'
import { data, dir, fresh, next, options as optionsOf, rookery, Server, text } from './world.ts'

let server: Server
const options = (user: string, more: Partial<ClientOptions> = {}) => optionsOf(server, user, more)

beforeAll(async () => {
  server = await Server.start()
})

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true })
})

test('a message goes to its receiver, and the ticks come back', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await PlainClient.connect(options(alice))
  const b = await PlainClient.connect(options(bob))
  const sent = await a.send(bob, 'hello')
  await sent.durable()
  const { message } = await next(b, 'message')
  expect([text(message), message.from, message.id, message.place]).toEqual(['hello', alice, sent.id, sent.place])
  b.handled()
  await sent.delivered()
  b.markRead(alice, message.place)
  await sent.read()
  const page = await b.history(alice)
  expect(page.messages.map(text)).toEqual(['hello'])
  await Promise.all([a.close(), b.close()])
})

test('who is watched before the first message is once there is a chat', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await PlainClient.connect(options(alice))
  const b = await PlainClient.connect(options(bob))
  a.watch(bob)
  await expect(next(a, 'presence')).rejects.toMatchObject({ codeName: 'forbidden' })
  await a.send(bob, 'hello')
  await next(b, 'message')
  b.handled()
  expect(await next(a, 'presence')).toMatchObject({ peer: bob, online: true })
  await b.close()
  await a.close()
})

test('a message to a group comes with its place, and the chain goes on', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const run = (...args: string[]) => execFileSync(rookery, [...args, '--as', alice, '--url', server.url, '--data', data, '--plain'], { encoding: 'utf8' }).trim()
  const b = await PlainClient.connect(options(bob))
  const group = run('group', 'create', bob)
  const made = (await next(b, 'group_message')).message
  expect([made.from, made.to, made.suite]).toEqual([alice, group, 3])
  run('send', '--to', group, '--wait', 'durable', 'hello')
  const { message } = await next(b, 'group_message')
  expect([text(message), message.to, message.place > made.place]).toEqual(['hello', group, true])
  b.handled()
  b.markRead(group, message.place)
  run('send', '--to', group, '--wait', 'durable', 'more')
  await next(b, 'group_message')
  expect((await b.history(group)).messages.map((m) => m.suite)).toEqual([0, 0, 3])
  await (await b.send(group, 'from here')).durable()
  run('send', '--to', bob, '--wait', 'durable', 'to you alone')
  expect(text((await next(b, 'message')).message)).toBe('to you alone')
  await b.close()
})

test('who was away gets everything, in order', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await PlainClient.connect(options(alice))
  for (let i = 0; i < 200; i++) await a.send(bob, String(i))
  await a.outbox.at(-1)?.durable()
  const b = await PlainClient.connect(options(bob))
  for (let i = 0; i < 200; i++) expect(text((await next(b, 'message')).message)).toBe(String(i))
  await Promise.all([a.close(), b.close()])
})

test('a killed server loses and doubles nothing', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await PlainClient.connect(options(alice))
  const b = await PlainClient.connect(options(bob))
  const total = 300
  const sending = (async () => {
    for (let i = 0; i < total; i++) {
      const sent = await a.send(bob, String(i))
      if (i % 10 === 0) await sent.durable()
    }
  })()
  const got: string[] = []
  while (got.length < total) {
    got.push(text((await next(b, 'message')).message))
    if (got.length === 100) {
      await server.kill()
      server = await server.again()
    }
  }
  await sending
  expect(got).toEqual(Array.from({ length: total }, (_, i) => String(i)))
  await Promise.all([a.close(), b.close()])
})

test('an outbox in a file goes out with the next run', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const path = join(dir, `${alice}.journal`)
  const first = await PlainClient.connect(options(alice, { journal: new FileJournal(path) }))
  await first.close()
  // Nobody is there: the message waits in the file.
  const away = await PlainClient.open(options(alice, { journal: new FileJournal(path), url: 'ws://127.0.0.1:1' }))
  const { id } = await away.send(bob, 'kept')
  await away.close()
  const b = await PlainClient.connect(options(bob))
  const again = await PlainClient.connect(options(alice, { journal: new FileJournal(path) }))
  const { message } = await next(b, 'message')
  expect([text(message), message.id]).toEqual(['kept', id])
  await Promise.all([again.close(), b.close()])
})

test('a message sent again under its id arrives once', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await PlainClient.connect(options(alice))
  const b = await PlainClient.connect(options(bob))
  const id = await a.newId()
  const sent = await a.send(bob, 'once', { id })
  await a.send(bob, 'once', { id }) // as after an end of the page in between
  const other = await a.send(bob, 'other bytes', { id })
  await (await a.send(bob, 'the end')).durable()
  expect([text((await next(b, 'message')).message), text((await next(b, 'message')).message)]).toEqual(['once', 'the end'])
  expect((await b.history(alice)).messages.map((m) => [m.id === id, text(m)])).toEqual([[false, 'the end'], [true, 'once']])
  await expect(next(a, 'problem')).rejects.toMatchObject({ codeName: 'id_conflict' })
  expect([sent.error, other.error?.message]).toEqual([null, expect.stringContaining('id_conflict')])
  await expect(a.send(bob, 'no', { id: 'none' })).rejects.toMatchObject({ codeName: 'bad_id' })
  await Promise.all([a.close(), b.close()])
})
