// Devices of the SDK's encryption with a key directory in memory, and nothing of a connection.
import { call, type Link, load, type Machine, valueOf } from '../src/e2ee/machine.ts'
import { makeId } from '../src/id.ts'
import { decodePackets, encodePacket } from '../src/packets.ts'
import type { PacketFields } from '../src/schema.ts'

type Put = PacketFields<'keys_put'>

/** A server's part: the keys of devices, and the key shares that were sent and not taken yet. */
class Directory {
  readonly puts = new Map<string, Put>()
  shares: [string, Uint8Array][] = []
  readonly #forEver = new Promise<void>(() => {})

  linkOf(user: string): Link {
    return {
      ask: async (question) => this.#answer(user, question),
      send: async (_, content) => (this.shares.push([user, content]), { durable: async () => {} }),
      session: () => this.#forEver,
    }
  }

  #answer(user: string, question: Uint8Array): Uint8Array {
    const [p] = decodePackets(question)
    if (p?.type === 'keys_put') {
      const one_time = [...(this.puts.get(user)?.one_time ?? []), ...p.one_time]
      this.puts.set(user, { ...p, one_time })
      return encodePacket('keys_stored', { left: BigInt(one_time.length) })
    }
    if (p?.type === 'keys_get') {
      const users = p.users.map((name) => {
        const put = this.puts.get(name)
        const devices = put ? [{ device: 'd', curve: put.curve, signing: put.signing, signature: put.signature }] : []
        return { user: name, identity: put?.identity ?? null, devices }
      })
      return encodePacket('keys', { users })
    }
    if (p?.type !== 'keys_claim') throw new Error('an unexpected question')
    const keys = p.devices.map(({ user: name, device }) => {
      const put = this.puts.get(name)!
      const once = put.one_time.shift()
      return { user: name, device, fallback: !once, pre_key: once ?? put.fallback }
    })
    return encodePacket('keys_claimed', { keys })
  }
}

const idAt = (n: number) => makeId(139866158450000000n + BigInt(n), 7, '830102030405')

/** What was encrypted, as its receiver gets it. */
export interface Sealed {
  n: number
  content: Uint8Array
}

export class World {
  readonly directory = new Directory()
  #n = 0

  constructor(readonly body: Uint8Array) {}

  async open(user: string, more: object = {}): Promise<Machine> {
    const m = await call((await load()).open, user, 'd', this.directory.linkOf(user), null, { rotateMessages: 5000, ...more })
    valueOf(m.start())
    await call(m.published)
    return m
  }

  /** Makes a chat ready for a message, and writes none. */
  async begin(from: Machine, to: string): Promise<void> {
    const { done } = await call(from.ready, to, 1, this.body, null)
    valueOf(done())
  }

  async encrypt(from: Machine, to: string): Promise<Sealed> {
    const { seal, done } = await call(from.ready, to, 1, this.body, null)
    const n = ++this.#n
    const content = valueOf(seal(idAt(n)))
    valueOf(done())
    return { n, content }
  }

  async decrypt(to: Machine, from: string, { n, content }: Sealed): Promise<void> {
    const e = await call(to.take, encodePacket('message', { pos: BigInt(n), id: idAt(n), from, suite: 1, content }))
    if (e?.type !== 'shown') throw new Error(`not decrypted: ${JSON.stringify(e)}`)
    await call(to.sync)
  }

  /** Gives a device the key shares that wait. */
  async take(m: Machine): Promise<void> {
    for (const [from, content] of this.directory.shares.splice(0)) {
      const n = ++this.#n
      await call(m.take, encodePacket('message', { pos: BigInt(n), id: idAt(n), from, suite: 2, content }))
      const e = valueOf(m.next())
      if (e) throw new Error(`a key share led to ${JSON.stringify(e)}`)
    }
    await call(m.sync)
  }
}
