// The TypeScript SDK's part of `rookery bench crypto`: node round.js BYTES MS. For each line that comes it measures every step
// for about so many milliseconds, and prints µs of processor time as JSON. bench/crypto.go says what the steps are.
import { createInterface } from 'node:readline'

import { call, load, valueOf } from '../src/e2ee/machine.ts'
import { type Sealed, World } from './world.ts'

const [bytes, ms] = process.argv.slice(2).map(Number) as [number, number]
const module = await load()
const world = new World(crypto.getRandomValues(new Uint8Array(bytes)))
const file = new Uint8Array(1_000_000)
for (let at = 0; at < file.length; at += 50_000) crypto.getRandomValues(file.subarray(at, at + 50_000))
const alice = await world.open('alice')
const rotating = await world.open('rotating', { rotateAfterMs: 1e-6 })
const bob = await world.open('bob')
// Both have written, so that their Olm sessions are settled.
await world.begin(rotating, 'bob')
await world.take(bob)
await world.begin(bob, 'rotating')
await world.take(rotating)

/** Sums the processor time of this process while something was done. */
class Meter {
  #us = 0
  #n = 0

  async of<T>(f: () => Promise<T> | T): Promise<T> {
    const before = process.cpuUsage()
    const value = await f()
    const { user, system } = process.cpuUsage(before)
    this.#us += user + system
    this.#n++
    return value
  }

  get us(): number {
    return this.#us / this.#n
  }
}

async function whileThereIsTime(f: () => Promise<void>): Promise<void> {
  for (const end = performance.now() + ms; ; ) {
    await f()
    if (performance.now() >= end) return
  }
}

let newcomers = 0

async function round(): Promise<Record<string, number>> {
  const [device, begin, accept] = [new Meter(), new Meter(), new Meter()]
  await whileThereIsTime(async () => {
    const name = `user${++newcomers}`
    const m = await device.of(() => world.open(name))
    await begin.of(() => world.begin(alice, name))
    await accept.of(() => world.take(m))
    await call(m.close)
  })
  const [share, taken] = [new Meter(), new Meter()]
  await whileThereIsTime(async () => {
    await share.of(() => world.begin(rotating, 'bob'))
    await taken.of(() => world.take(bob))
  })
  const [encrypt, decrypt] = [new Meter(), new Meter()]
  const sent: Sealed[] = []
  await whileThereIsTime(async () => void sent.push(await encrypt.of(() => world.encrypt(alice, 'bob'))))
  await world.take(bob)
  for (const each of sent) await decrypt.of(() => world.decrypt(bob, 'alice', each))
  const [seal, open] = [new Meter(), new Meter()]
  await whileThereIsTime(async () => {
    const a = await seal.of(() => valueOf(module.encrypt(file, false)))
    await open.of(() => valueOf(module.decrypt(a.file, a.key, a.digest, a.size)))
  })
  return {
    device: device.us,
    begin: begin.us,
    accept: accept.us,
    'olm encrypt': share.us,
    'olm decrypt': taken.us,
    'megolm encrypt': encrypt.us,
    'megolm decrypt': decrypt.us,
    'attachment encrypt': seal.us,
    'attachment decrypt': open.us,
  }
}

for await (const _ of createInterface({ input: process.stdin })) console.log(JSON.stringify(await round()))
process.exit() // what runs as WebAssembly waits for calls, and would keep it
