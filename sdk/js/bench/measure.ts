// What encrypting and decrypting a message of 100 bytes costs: the SDK's whole way (envelope, ratchet, replay detection).
// It runs in a page by bench/crypto.ts; bench/round.ts is what `rookery bench crypto` runs in Node.
import { load, type WasmSource } from '../src/e2ee/machine.ts'
import { type Sealed, World } from './world.ts'

/** Returns the time to start, and to encrypt and decrypt a message. */
export async function measure(wasm?: WasmSource): Promise<{ start_ms: number; encrypt_us: number; decrypt_us: number; messages: number }> {
  const began = performance.now()
  await load(wasm)
  const start = performance.now() - began
  const world = new World(new Uint8Array(100))
  const [a, b] = [await world.open('alice'), await world.open('bob')]
  const messages = 2000
  const sent: Sealed[] = []
  await world.begin(a, 'bob')
  await world.take(b)
  const first = performance.now()
  for (let n = 0; n < messages; n++) sent.push(await world.encrypt(a, 'bob'))
  const second = performance.now()
  for (const each of sent) await world.decrypt(b, 'alice', each)
  const third = performance.now()
  return { start_ms: start, encrypt_us: ((second - first) / messages) * 1000, decrypt_us: ((third - second) / messages) * 1000, messages }
}
