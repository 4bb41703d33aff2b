// A device in Go, Node or a page links one of another kind, and takes it away; who is of the third kind writes to both, then to one.
import { expect, test } from 'vitest'

import { type Message, MemoryJournal, PlainClient } from '../src/index.ts'
import { hears, kinds } from './peers.ts'
import { startWorld } from './setup.ts'
import { fresh, options, readersOf } from './world.ts'

const world = startWorld()

/** The key shares from one to another, as the server has them. */
async function shares(from: string, to: string): Promise<Message[]> {
  const spy = await PlainClient.open({ ...options(world.server, from), device: 'spy', journal: new MemoryJournal(), sendOnly: true })
  const { messages } = await spy.history(to)
  await spy.close()
  return messages.filter((m) => m.suite === 2 && m.from === from)
}

for (const i of kinds.keys()) {
  const [[first, openFirst], [second, openSecond], [writer, openWriter]] = [kinds[i]!, kinds[(i + 1) % 3]!, kinds[(i + 2) % 3]!]
  test(`${first} links ${second} and takes it away; ${writer} writes to both, then to one`, { timeout: 300_000 }, async () => {
    const [ann, bob] = [fresh('ann'), fresh('bob')]
    const b = await openWriter(world, bob)
    const old = await openFirst(world, ann)
    await b.send(ann, 'one')
    expect(await old.hear(1)).toEqual([`${bob} alone: one`])

    const code = await old.offerLink()
    const linked = await openSecond(world, ann, { device: 'second', code })
    if (first !== 'Go') expect(await old.hear(1)).toEqual(['linked second']) // in Go it is a command that shows the code
    // In Go somebody has rung at both; where the new one is, that is heard already.
    if (second === 'Go') expect((await old.hear(1))[0]).toMatch(/are you there/)
    await b.send(ann, 'two')
    expect(await old.hear(1)).toEqual([`${bob} alone: two`])
    await hears(linked, `${bob} alone: two`)
    await linked.send(bob, 'from the new one')
    expect(await b.hear(1)).toEqual([`${ann} alone: from the new one`])
    expect(await old.hear(1)).toEqual(['copy: from the new one'])
    await old.send(bob, 'from the old one')
    expect(await b.hear(1)).toEqual([`${ann} alone: from the old one`])
    expect(await linked.hear(1)).toEqual(['copy: from the old one'])

    const before = await shares(bob, ann)
    expect(before.flatMap((m) => readersOf(m.content!))).toContain('second')
    await old.revoke('second')
    expect(await linked.ended()).toBe('revoked')
    await b.send(ann, 'three')
    expect(await old.hear(1)).toEqual([`${bob} alone: three`])
    const since = (await shares(bob, ann)).filter((m) => !before.some(({ id }) => id === m.id))
    expect(since.length).toBeGreaterThan(0)
    expect(since.flatMap((m) => readersOf(m.content!))).not.toContain('second')
    await Promise.all([b, old, linked].map((each) => each.close()))
  })
}
