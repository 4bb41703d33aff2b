// What encrypting and decrypting a message of 100 bytes costs: the SDK's whole way (envelope, ratchet, replay detection)
// with two devices and a key directory in memory. It runs in Node, and in a page by bench/crypto.ts.
import { call, type Link, load, type Machine, valueOf, type WasmSource } from '../src/e2ee/machine.ts'
import { makeId } from '../src/id.ts'
import { decodePackets, encodePacket } from '../src/packets.ts'
import type { PacketFields } from '../src/schema.ts'

type Put = PacketFields<'keys_put'>

/** A directory that hands out each user's fallback key, and the shares that went out. */
class Directory {
  readonly puts = new Map<string, Put>()
  readonly shares: [string, Uint8Array][] = []

  linkOf(user: string): Link {
    return {
      ask: async (question) => this.#answer(user, question),
      send: async (_, content) => (this.shares.push([user, content]), { durable: async () => {} }),
      online: () => true,
    }
  }

  #answer(user: string, question: Uint8Array): Uint8Array {
    const [p] = decodePackets(question)
    if (p?.type === 'keys_put') {
      this.puts.set(user, p)
      return encodePacket('keys_stored', { left: 100n })
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
    const keys = p.devices.map(({ user: name, device }) => ({ user: name, device, fallback: true, pre_key: this.puts.get(name)!.fallback }))
    return encodePacket('keys_claimed', { keys })
  }
}

async function open(directory: Directory, user: string): Promise<Machine> {
  const m = await call((await load()).open, user, 'd', directory.linkOf(user), null, { rotateMessages: 4000 })
  valueOf(m.start())
  await call(m.published)
  return m
}

const idAt = (n: number) => makeId(139866158450000000n + BigInt(n), 7, '830102030405')

/** Returns the time to start, and to encrypt and decrypt a message. */
export async function measure(wasm?: WasmSource): Promise<{ start_ms: number; encrypt_us: number; decrypt_us: number; messages: number }> {
  const began = performance.now()
  await load(wasm)
  const start = performance.now() - began
  const directory = new Directory()
  const [a, b] = [await open(directory, 'alice'), await open(directory, 'bob')]
  const body = new Uint8Array(100)
  const messages = 2000
  const contents: Uint8Array[] = []
  const encrypt = async (n: number) => {
    const { seal, done } = await call(a.ready, 'bob', 1, body, null)
    contents.push(valueOf(seal(idAt(n))))
    valueOf(done())
  }
  await encrypt(0)
  for (const [from, content] of directory.shares) {
    await call(b.take, encodePacket('message', { pos: 1n, id: idAt(0), from, suite: 2, content }))
  }
  const first = performance.now()
  for (let n = 1; n <= messages; n++) await encrypt(n)
  const second = performance.now()
  for (let n = 1; n <= messages; n++) {
    const e = await call(b.take, encodePacket('message', { pos: BigInt(n + 1), id: idAt(n), from: 'alice', suite: 1, content: contents[n]! }))
    if (e?.type !== 'shown') throw new Error(`not decrypted: ${JSON.stringify(e)}`)
  }
  const third = performance.now()
  return { start_ms: start, encrypt_us: ((second - first) / messages) * 1000, decrypt_us: ((third - second) / messages) * 1000, messages }
}
