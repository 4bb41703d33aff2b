// What the browser's tests run in a page and in a Worker.
import { Client, decryptAttachment, encryptAttachment, type EncryptedEvent, Media, sendFile } from '../src/index.ts'
import { bytesOfFile, type Lines, linesOf } from './lines.ts'

let client: Client
let lines: Lines
let media: Media

const text = (content: Uint8Array | null) => (content === null ? null : new TextDecoder().decode(content))

/** What the test asks for: a name and its arguments, all of them JSON. */
const calls: Record<string, (...args: never[]) => unknown> = {
  async open(url: string, user: string, device: string, token: string, more: object) {
    client = await Client.open({ url, user, device, token: () => token, wasm: '/e2ee.wasm', backoffMinMs: 50, backoffMaxMs: 500, refreshMs: 0.001, ...more })
  },
  connected: () => client.connected(),
  published: () => client.published(),
  async send(to: string, content: string, durable: boolean) {
    const sent = await client.send(to, content)
    if (durable) await sent.durable()
    return sent.id
  },
  async next(type: EncryptedEvent['type']) {
    for (;;) {
      const e = (await client.receive()) as EncryptedEvent
      if (e.type === 'problem') throw e.error
      if (e.type !== type) continue
      if (!('message' in e)) return { type: e.type }
      client.handled()
      return { type: e.type, from: e.message.from, text: text(e.message.content), id: e.message.id }
    }
  },
  async history(peer: string) {
    return (await client.history(peer)).messages.map((m) => text(m.content))
  },
  /** Instead of next: takes all that comes. */
  listen(web: string, token: string) {
    media = new Media(web, () => token)
    lines = linesOf(client, media)
  },
  sendFile: async (to: string, name: string) => (await sendFile(client, media, to, { bytes: bytesOfFile(name), name, type: '' })).durable(),
  hear: (n: number) => lines.next(n),
  ended: () => lines.end(),
  makeGroup: async (name: string, users: string[]) => (await client.createGroup(name ? new TextEncoder().encode(name) : null, users)).group,
  changeGroup: async (group: string, verb: 'add' | 'remove', users: string[]) => void (await client.changeGroup(group, verb, users)),
  offerLink: () => client.offerLink(),
  join: (code: string) => client.join(code),
  revoke: (device: string) => client.removeDevice(device),
  accept: (user: string) => client.accept(user),
  now: () => Date.now(),
  safety: async (user: string) => (await client.safety(user)).digits,
  outbox: () => client.outbox.length,
  close: () => client.close(),
  async attachment() {
    const file = crypto.getRandomValues(new Uint8Array(60_000))
    const { file: sealed, attachment } = await encryptAttachment(file)
    const opened = await decryptAttachment(sealed, attachment)
    return opened.length === file.length && opened.every((b, i) => b === file[i])
  },
  async upload(web: string, token: string, size: number) {
    const media = new Media(web, () => token)
    const file = new Uint8Array(size).map((_, i) => i * 31 + (i >> 11))
    const told: number[] = []
    const back = await media.download(await media.upload(file, { progress: (done) => void told.push(done) }))
    return { told, same: back.length === size && back.every((b, i) => b === file[i]) }
  },
  async keys(name: string) {
    const db = await new Promise<IDBDatabase>((done) => {
      const opening = indexedDB.open(name)
      opening.onsuccess = () => done(opening.result)
    })
    const wrapping = db.transaction('wrapping').objectStore('wrapping').get('wrapping')
    const key = await new Promise<CryptoKey>((done) => (wrapping.onsuccess = () => done(wrapping.result)))
    db.close()
    return key.extractable
  },
}

async function rookery(name: string, ...args: unknown[]): Promise<unknown> {
  return calls[name]!(...(args as never[]))
}

if (typeof window === 'undefined') {
  self.onmessage = async ({ data: [n, name, ...args] }) => {
    try {
      self.postMessage([n, await rookery(name, ...args), ''])
    } catch (err) {
      self.postMessage([n, null, String(err)])
    }
  }
} else Object.assign(globalThis, { rookery })
