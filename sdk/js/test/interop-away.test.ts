// A day without a connection, for devices in Go, in Node and in a page at once, while others of each kind go on.
import { expect, onTestFinished, test } from 'vitest'

import { MemoryJournal, PlainClient } from '../src/index.ts'
import { emptied, entries, Liar, once, suiteKeyShare } from './liar.ts'
import { kinds, type Peer } from './peers.ts'
import { allHear, named, startWorld } from './setup.ts'
import { type At, fresh, options } from './world.ts'

/** How many messages each says in the group meanwhile: more than a session of the encryption is used for, which in Go is 100. */
const said = [102, 12, 12]
const rotateMessages = 10
// All together is much more than a device is sent ahead of its mark.
const world = startWorld('--session-window=32')

/** The names of devices by which peers hear, by kind. */
const ears = ['ear', 'node', 'page']

/** Takes all one-time keys of a device, so that who writes to it next uses the key that is never used up. */
async function useUp(user: string, device: string): Promise<void> {
  const thief = await PlainClient.connect({ ...options(world.server, fresh('thief')), journal: new MemoryJournal(), sendOnly: true })
  type Claimed = { keys: { fallback: boolean }[] }
  const { keys } = await thief.ask<Claimed, 'keys_claim'>('keys_claim', { devices: Array(64).fill({ user, device }) }, 'one_time_keys')
  expect(keys.at(-1)!.fallback).toBe(true)
  await thief.close()
}

test('Go, Node and a page come back after a day, and get in order what was said meanwhile, by whom they do not know yet, too', { timeout: 300_000 }, async () => {
  const liar = await Liar.start(world.server)
  onTestFinished(() => liar.close())
  const open = (who: string, server: At) => Promise.all(kinds.map(([kind, open]) => open({ ...world, server }, `${who}-${named(kind)}`, { rotateMessages })))
  const [away, here] = [await open('away', liar), await open('here', world.server)]
  const [go, node, page] = here as [Peer, Peer, Peer]
  const others = [go, page, ...away]
  const users = others.map(({ user }) => user)
  const group = await node.makeGroup('Cliff', users)
  await allHear(others, `${node.user} create ${users.join(' ')}`, `${node.user} named Cliff`)
  for (const each of away) {
    const talk = await each.talk(node.user)
    await talk.say('before')
    await allHear([node], `${each.user} alone: before`)
  }

  // The last that they write is not with the server when they go.
  liar.cut(true)
  for (const each of away) await (await each.talk(node.user)).keep('kept')
  await Promise.all(away.map((each) => each.leave()))
  liar.cut(false)
  for (const [i, { user }] of away.entries()) await useUp(user, ears[i]!)

  const spoken = await Promise.all(here.map((each) => each.talk(group)))
  const missed: string[] = []
  for (const [i, { user }] of here.entries()) {
    const texts = Array.from({ length: said[i]! }, (_, n) => `${i} ${n}`)
    const lines = texts.map((text) => `${user}: ${text}`)
    const saying = Promise.all(texts.map((text) => spoken[i]!.say(text)))
    await allHear(here.filter((each) => each.user !== user), ...lines)
    await saying
    missed.push(...lines)
  }
  const second = await kinds[1]![1](world, page.user, { device: 'second', code: await page.offerLink() })
  expect(await page.hear(1)).toEqual(['linked second'])
  await second.send(group, 'from my new device')
  await allHear([go, node], `${page.user}: from my new device`)
  for (const each of away) {
    await second.send(each.user, 'you alone')
    expect(await page.hear(1)).toEqual(['copy: you alone'])
  }
  const dave = await kinds[1]![1](world, fresh('dave'))
  await node.changeGroup(group, 'add', [dave.user])
  await allHear([go, page, dave], `${node.user} add ${dave.user}`, `${node.user} named Cliff`)
  await dave.send(group, 'here I am')
  await allHear(here, `${dave.user}: here I am`)
  await node.changeGroup(group, 'remove', [go.user])
  await allHear([go, page, dave], `${node.user} remove ${go.user}`)
  await node.send(group, 'without them')
  await allHear([page, dave], `${node.user}: without them`)
  missed.push(`${page.user}: from my new device`, `${node.user} add ${dave.user}`, `${node.user} named Cliff`, `${dave.user}: here I am`)
  missed.push(`${node.user} remove ${go.user}`, `${node.user}: without them`)

  const tomorrow = new Date(Date.now() + 86_400_000)
  await Promise.all(away.map((each) => each.back(tomorrow)))
  for (const each of away) {
    const lines = await each.hear(missed.length + 1)
    expect(lines.filter((line) => / alone: /.test(line))).toEqual([`${page.user} alone: you alone`])
    expect(lines.filter((line) => !/ alone: /.test(line)), each.user).toEqual(missed)
  }
  for (const each of away) await (await each.talk(node.user)).say('again')
  const heard = await node.hear(6)
  for (const { user } of away) expect(heard.filter((line) => line.startsWith(user))).toEqual([`${user} alone: kept`, `${user} alone: again`])
  for (const each of away) {
    await each.send(group, 'I am back')
    await allHear([node, page, dave, ...away.filter((other) => other !== each)], `${each.user}: I am back`)
  }

  // Away again, while the key is lost of somebody who writes for the first time.
  await Promise.all(away.map((each) => each.leave()))
  for (const each of away) {
    await dave.send(each.user, 'are you here?')
    liar.lies(once(entries(dave.user, suiteKeyShare), emptied))
    await each.back()
    await allHear([each], `${dave.user} alone: are you here?`)
    expect(liar.lied).toBe(true)
  }
  await Promise.all([...here, ...away, second, dave].map((each) => each.close()))
})
