// Go, Node and a page, each with the others, alone and in a group, over a server that lies: keys that are lost or late, messages
// that are reordered, replayed, tampered with, or not encrypted.
import { expect, onTestFinished, test } from 'vitest'

import { again, emptied, entries, exchanged, Liar, type Lie, once, plain, suiteKeyShare, suiteMegolm, tampered } from './liar.ts'
import { kinds, type Peer } from './peers.ts'
import { named, startWorld } from './setup.ts'
import { fresh } from './world.ts'

const world = startWorld()

/** Who hears what a server that lies tells. */
interface Hearer {
  kind: string
  peer: Peer
  liar: Liar
}

/** A chat of who speaks, and who hears it. */
interface Spoken {
  to: string
  hearers: Hearer[]
  says: (text: string) => string
}

/** Somebody of a kind with the two of the other kinds: in a group, and with each alone. */
async function talk(i: number): Promise<[Peer, Spoken[]]> {
  const speaker = await kinds[i]![1](world, fresh('ann'))
  const hearers = await Promise.all(
    [1, 2].map(async (n): Promise<Hearer> => {
      const [kind, open] = kinds[(i + n) % 3]!
      const liar = await Liar.start(world.server)
      onTestFinished(() => liar.close())
      return { kind, liar, peer: await open({ ...world, server: liar }, named(kind)) }
    }),
  )
  const users = hearers.map(({ peer }) => peer.user)
  const group = await speaker.makeGroup('', users)
  for (const { peer } of hearers) expect(await peer.hear(1)).toEqual([`${speaker.user} create ${users.join(' ')}`])
  const alone = hearers.map((each): Spoken => ({ to: each.peer.user, hearers: [each], says: (text) => `${speaker.user} alone: ${text}` }))
  return [speaker, [{ to: group, hearers, says: (text) => `${speaker.user}: ${text}` }, ...alone]]
}

/** Tells all who hear a chat a lie, has something said, and wants these lines to come. */
async function lying({ hearers }: Spoken, lie: () => Lie, say: () => void, lines: (kind: string) => string[]): Promise<void> {
  for (const { liar } of hearers) liar.lies(lie())
  say()
  for (const { kind, peer, liar } of hearers) {
    const wanted = lines(kind)
    expect(await peer.hear(wanted.length), `${kind}, ${peer.user}`).toEqual(wanted)
    expect(liar.lied).toBe(true)
  }
}

for (const [i, [kind]] of kinds.entries()) {
  test(`${kind} speaks: a key that comes late opens what waits; what is reordered is read, what is replayed or tampered with refused`, { timeout: 120_000 }, async () => {
    const [ann, chats] = await talk(i)
    const messages = entries(ann.user, suiteMegolm)
    for (const chat of chats) {
      const { say } = await ann.talk(chat.to)
      await lying(chat, () => exchanged(entries(ann.user, suiteKeyShare), messages), () => say('one'), () => [chat.says('one')])
      await lying(chat, () => exchanged(messages, messages), () => (say('two'), say('three')), () => [chat.says('three'), chat.says('two')])
      await lying(chat, () => again(messages), () => (say('four'), say('five')), () => [chat.says('four'), 'failed: replayed'])
      await lying(chat, () => once(messages, tampered), () => say('six'), () => ['failed: forged'])
      const unencrypted = (who: string) => (who === 'Go' ? chat.says('(not encrypted) plain') : 'failed: plain')
      await lying(chat, () => once(messages, plain), () => (say('seven'), say('eight')), (who) => [unencrypted(who), chat.says('eight')])
    }
  })

  test(`${kind} speaks: a key that is lost is asked for, and opens what waits`, { timeout: 120_000 }, async () => {
    const [ann, chats] = await talk(i)
    for (const chat of chats) {
      const { say } = await ann.talk(chat.to)
      await lying(chat, () => once(entries(ann.user, suiteKeyShare), emptied), () => (say('one'), say('two')), () => [chat.says('one'), chat.says('two')])
    }
  })
}
