// Go, Node and a page send each other files: in a group, and alone.
import { test } from 'vitest'

import { kinds } from './peers.ts'
import { allHear, named, startWorld } from './setup.ts'

const world = startWorld()

test('a file of each comes to the others as it was sent, in a group and alone', { timeout: 120_000 }, async () => {
  const all = await Promise.all(kinds.map(([kind, open]) => open(world, named(kind))))
  const [maker, ...others] = all
  const users = others.map(({ user }) => user)
  const group = await maker!.makeGroup('', users)
  await allHear(others, `${maker!.user} create ${users.join(' ')}`)
  for (const from of all) {
    const rest = all.filter((each) => each !== from)
    const name = `${from.user}.bin`
    await from.sendFile(group, name)
    await allHear(rest, `${from.user}: ${name}, as it was sent`)
    for (const to of rest) {
      const alone = `${from.user}-${to.user}.bin`
      await from.sendFile(to.user, alone)
      await allHear([to], `${from.user} alone: ${alone}, as it was sent`)
    }
  }
  await Promise.all(all.map((each) => each.close()))
})
