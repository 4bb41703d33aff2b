// A user begins anew in Go, in Node or in a page, with another identity: who is of the other kinds is warned, and writes no more until
// they accept it; the device with the identity of before is told, too.
import { expect, test } from 'vitest'

import { hears, kinds } from './peers.ts'
import { named, startWorld } from './setup.ts'
import { fresh } from './world.ts'

const world = startWorld()

for (const i of kinds.keys()) {
  const [[kind, open], ...others] = [kinds[i]!, kinds[(i + 1) % 3]!, kinds[(i + 2) % 3]!] as const
  test(`${kind} has another identity: the others write no more until they accept it, nor does who has the one before`, { timeout: 120_000 }, async () => {
    const ann = fresh('ann')
    const [before, ...hearers] = await Promise.all([open(world, ann), ...others.map(([kind, open]) => open(world, named(kind)))])
    const talks = []
    for (const { user } of hearers) {
      const talk = await hearers.find((each) => each.user === user)!.talk(ann)
      await talk.say('one')
      expect(await before!.hear(1)).toEqual([`${user} alone: one`])
      talks.push({ user, talk })
    }
    const after = await open(world, ann, { device: 'anew', anew: true })
    await expect(before!.send(hearers[0]!.user, 'as ever')).rejects.toThrow(/another identity|other_identity/)
    for (const { user, talk } of talks) {
      await (await after.talk(user)).say('it is me')
      expect(await talk.hear(1)).toEqual(['identity_changed'])
      await expect(talk.say('two')).rejects.toThrow('has changed')
      await talk.accept()
      await hears(talk, `${ann} alone: it is me`) // past a key that was not theirs by the identity of before
      await talk.say('three')
      expect(await after.hear(1)).toEqual([`${user} alone: three`])
    }
    await Promise.all([before!, after, ...hearers].map((each) => each.close()))
  })
}
