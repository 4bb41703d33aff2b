// Go, Node and a page in Chromium in one group, which each of them makes and changes.
import { test } from 'vitest'

import { kinds } from './peers.ts'
import { allHear, named, startWorld } from './setup.ts'
import { fresh } from './world.ts'

const world = startWorld()

for (const [i, [kind]] of kinds.entries()) {
  test(`${kind} makes a group: all read all, who joins reads what follows, who is removed nothing more`, { timeout: 300_000 }, async () => {
    const all = await Promise.all(kinds.map(([name, open]) => open(world, named(name))))
    const [maker, second, third] = [all[i]!, all[(i + 1) % 3]!, all[(i + 2) % 3]!]
    const group = await maker.makeGroup('Cliff', [second.user, third.user])
    await allHear([second, third], `${maker.user} create ${second.user} ${third.user}`, `${maker.user} named Cliff`)
    for (const who of [maker, second, third]) {
      await who.send(group, `from ${who.user}`)
      await allHear([maker, second, third].filter((each) => each !== who), `${who.user}: from ${who.user}`)
    }

    const dave = await kinds[(i + 2) % 3]![1](world, fresh('dave'))
    await maker.changeGroup(group, 'add', [dave.user])
    await allHear([second, third, dave], `${maker.user} add ${dave.user}`, `${maker.user} named Cliff`)
    await second.send(group, 'with dave')
    await allHear([maker, third, dave], `${second.user}: with dave`)
    await dave.send(group, 'here I am')
    await allHear([maker, second, third], `${dave.user}: here I am`)

    await maker.changeGroup(group, 'remove', [third.user])
    await allHear([second, third, dave], `${maker.user} remove ${third.user}`)
    await second.send(group, 'without them')
    await allHear([maker, dave], `${second.user}: without them`)
    await second.send(third.user, 'to you alone')
    await allHear([third], `${second.user} alone: to you alone`)
    await Promise.all([...all, dave].map((each) => each.close()))
  })
}
