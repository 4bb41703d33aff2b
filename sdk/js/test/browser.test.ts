import { join } from 'node:path'
import { expect, test } from 'vitest'

import { Client } from '../src/index.ts'
import { FileJournal } from '../src/node/index.ts'
import { startWorld } from './setup.ts'
import { dir, fresh, next, options, text } from './world.ts'

const world = startWorld()

async function node(user: string): Promise<Client> {
  const path = join(dir, user)
  const c = await Client.connect({ ...options(world.server, user), journal: new FileJournal(`${path}.journal`), keyFile: `${path}.keys`, refreshMs: 0.001 })
  await c.published()
  return c
}

test('page and Node read each other; a reload loses nothing; keys cannot be taken out', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const n = await node(alice)
  const tab = await world.browser.open(world.server, bob)
  await tab.call('published')
  await (await n.send(bob, 'from Node')).durable()
  expect(await tab.call('next', 'message')).toMatchObject({ from: alice, text: 'from Node' })
  await tab.call('send', alice, 'from the page', true)
  expect(text((await next(n, 'message')).message)).toBe('from the page')
  expect(await tab.call('safety', alice)).toBe((await n.safety(bob)).digits)
  expect(await tab.call('keys', `rookery-keys:${bob}:page`)).toBe(false)
  await tab.load(world.server, bob)
  await (await n.send(bob, 'after the reload')).durable()
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'after the reload' })
  expect(await tab.call('history', alice)).toEqual(['after the reload', 'from the page', 'from Node'])
  await tab.page.close()
  await n.close()
})

test('page to page, an attachment', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const [a, b] = [await world.browser.open(world.server, alice), await world.browser.open(world.server, bob)]
  await Promise.all([a.call('published'), b.call('published')])
  await a.call('send', bob, 'hello', true)
  expect(await b.call('next', 'message')).toMatchObject({ text: 'hello' })
  expect(await a.call('attachment')).toBe(true)
  await Promise.all([a.page.close(), b.page.close()])
})

test('offline: what is sent waits over a reload, what was missed comes', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const n = await node(alice)
  const tab = await world.browser.open(world.server, bob)
  await tab.call('published')
  await tab.call('send', alice, 'one', true)
  expect(text((await next(n, 'message')).message)).toBe('one')
  await (await n.send(bob, 'two')).durable()
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'two' })
  await world.server.kill() // nobody can reach it
  await tab.call('send', alice, 'kept', false)
  await tab.load(world.server, bob)
  expect(await tab.call('outbox')).toBe(1)
  const waiting = await n.send(bob, 'missed')
  world.server = await world.server.again()
  await waiting.durable()
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'missed' })
  expect(text((await next(n, 'message')).message)).toBe('kept')
  await tab.page.close()
  await n.close()
})
