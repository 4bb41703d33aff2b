// What the page keeps in the browser: keys and what messages say are sealed there, and no code can take out what seals them.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'

import { pair as pairIn, png, setUp, type Somebody } from './world.ts'

const world = setUp()

/** What lies in a browser: every name, key and value of all databases and of the web storage, as bytes in base64. */
interface Kept {
  /** As it lies there, with where. */
  shut: [string, string][]
  /** What the page itself can open of it, with where. */
  opened: [string, string][]
  /** Keys that no code should get, and whether one was given out. */
  keys: [string, boolean][]
}

/** Takes everything out that a page's code can take out. */
async function kept(who: Somebody): Promise<Kept> {
  return who.page.evaluate(async () => {
    const found: Kept = { shut: [], opened: [], keys: [] }
    const requested = <T>(request: IDBRequest<T>) => new Promise<T>((done, failed) => ((request.onsuccess = () => done(request.result)), (request.onerror = () => failed(request.error))))
    const base64 = (bytes: Uint8Array) => btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''))
    const keep = (at: string, bytes: Uint8Array) => void found.shut.push([at, base64(bytes)])
    const sealed: [string, Uint8Array, IDBValidKey][] = []

    async function walk(at: string, value: unknown, key: IDBValidKey): Promise<void> {
      if (value === null || value === undefined) return
      if (typeof value !== 'object') return keep(at, new TextEncoder().encode(String(value)))
      if (value instanceof CryptoKey) return void found.keys.push([at, await crypto.subtle.exportKey('raw', value).then(() => true, () => false)])
      if (value instanceof Blob) return keep(at, new Uint8Array(await value.arrayBuffer()))
      if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
        const bytes = value instanceof ArrayBuffer ? new Uint8Array(value) : new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
        sealed.push([at, bytes.slice(), key])
        return keep(at, bytes)
      }
      if (value instanceof Date) return keep(at, new TextEncoder().encode(value.toISOString()))
      const members = value instanceof Map ? [...value].flat() : value instanceof Set ? [...value] : Object.entries(value).flat()
      for (const [i, member] of members.entries()) await walk(`${at}.${typeof members[i - 1] === 'string' ? members[i - 1] : i}`, member, key)
    }

    for (const { name } of await indexedDB.databases()) {
      keep('a database', new TextEncoder().encode(name!))
      const db = await requested(indexedDB.open(name!))
      const seals: CryptoKey[] = []
      sealed.length = 0
      for (const store of db.objectStoreNames) {
        const objects = db.transaction(store).objectStore(store)
        const [keys, values] = await Promise.all([requested(objects.getAllKeys()), requested(objects.getAll())])
        for (const [i, key] of keys.entries()) {
          await walk(`${name} ${store} key`, key, key)
          await walk(`${name} ${store}`, values[i], key)
          if (values[i] instanceof CryptoKey) seals.push(values[i])
        }
      }
      db.close()
      for (const [at, bytes, key] of sealed) {
        for (const seal of seals) {
          for (const place of [`row ${key}`, `file ${key}`, `${key}`]) {
            const algorithm = { name: 'AES-GCM', iv: bytes.slice(0, 12), additionalData: new TextEncoder().encode(place) }
            const open = await crypto.subtle.decrypt(algorithm, seal, bytes.slice(12)).catch(() => null)
            if (open) found.opened.push([at, base64(new Uint8Array(open))])
          }
        }
      }
    }
    for (const storage of [localStorage, sessionStorage]) await walk('web storage', { ...storage }, '')
    for (const cache of await caches.keys()) keep('a cache', new TextEncoder().encode(cache))
    return found
  })
}

/** The forms in which bytes may lie somewhere: as they are, as UTF-16, in hexadecimal, and in base64 behind whatever is before them. */
function forms(secret: Buffer): Buffer[] {
  const base64 = [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), secret]).toString('base64').replace(/=+$/, '')
    return text.slice(before > 0 ? before + 1 : 0, -1) // characters that bytes beside it have a part in
  })
  return [secret, Buffer.from(secret.toString('latin1'), 'utf16le'), ...[secret.toString('hex'), secret.toString('hex').toUpperCase(), ...base64].map((text) => Buffer.from(text))]
}

/** Where a secret is found. */
function where(places: [string, string][], secret: Buffer): string[] {
  const all = forms(secret)
  return places.filter(([, base64]) => all.some((form) => Buffer.from(base64, 'base64').includes(form))).map(([at]) => at)
}

/** Values of a row of the vault: each record is `s` or `a`, its row's name behind two bytes of length, its bytes behind four. */
function rowsOf(commit: Buffer): Map<string, Buffer> {
  const rows = new Map<string, Buffer>()
  for (let at = 0; at < commit.length; ) {
    const name = commit.subarray(at + 3, at + 3 + commit.readUInt16BE(at + 1))
    const value = at + 3 + name.length + 4
    at = value + commit.readUInt32BE(value - 4)
    rows.set(name.toString(), commit.subarray(value, at))
  }
  return rows
}

test('keys and what messages say are sealed in the browser, what was sent, what came and what waits', async () => {
  const [alice, bob] = await pairIn(world)
  const word = () => randomBytes(9).toString('hex') // nothing else is like it
  const said = { alice: `said ${word()}`, bob: `answered ${word()}`, edited: `edited ${word()}`, waits: `waits ${word()}`, reply: `replied ${word()}` }
  const names = { sent: `cove-${word()}`, waits: `reef-${word()}` }
  const choose = (name: string) => alice.page.getByLabel('Send a picture').setInputFiles({ name: `${name}.png`, mimeType: 'image/png', buffer: png(900, 600) })
  await alice.say(said.alice)
  await bob.message(said.alice).waitFor()
  await (await alice.act(said.alice)).getByRole('button', { name: 'Edit' }).click()
  await alice.say(said.edited)
  await bob.message(said.edited).waitFor()
  await bob.say(said.bob)
  await alice.message(said.bob).waitFor()
  await (await alice.act(said.bob)).getByRole('button', { name: 'Reply', exact: true }).click()
  await alice.say(said.reply)
  await bob.message(said.reply).waitFor()
  await choose(names.sent)
  await bob.page.getByRole('button', { name: `Open ${names.sent}.jpg` }).waitFor()
  await alice.page.getByRole('progressbar').waitFor({ state: 'detached' })
  await alice.makeGroup('Cliff', bob.name)
  const group = await alice.members()
  await group.getByLabel('Choose a picture').setInputFiles({ name: 'cliff.png', mimeType: 'image/png', buffer: png(300, 300) })
  await alice.page.keyboard.press('Escape')
  await bob.choose('Cliff')
  await bob.line('changed the group\u2019s picture')
  await alice.choose(bob.name)
  await alice.aeroplane(true)
  await alice.say(said.waits)
  await choose(names.waits)
  await alice.page.getByRole('progressbar', { name: `Sending ${names.waits}.jpg` }).waitFor()

  for (const [who, other] of [[alice, bob], [bob, alice]] as const) {
    const { shut, opened, keys } = await kept(who)
    const bytes = opened.map(([at, base64]) => [at, Buffer.from(base64, 'base64')] as const)
    const secrets: Record<string, Buffer> = { 'what was edited': Buffer.from(said.edited), 'what was answered': Buffer.from(said.bob), 'a reply': Buffer.from(said.reply), 'the name of a picture': Buffer.from(names.sent) }
    if (who === alice) Object.assign(secrets, { 'what waits': Buffer.from(said.waits), 'the name of a picture that waits': Buffer.from(names.waits) })
    const pieces = (name: string, all: Buffer) => {
      for (let at = 0; at < all.length; at += Math.ceil(all.length / 8)) if (all.length - at >= 24) secrets[`${name} from ${at}`] = all.subarray(at, at + 24)
    }
    let pictures = 0 // that wait, and a group's
    for (const [at, body] of bytes) {
      if (at.startsWith(`rookery-page:${who.name} rows`)) {
        const { file } = JSON.parse(body.toString()) as { file: { key: string; thumbnail: string } | null }
        if (file?.key) secrets['what opens a picture'] = Buffer.from(file.key)
        if (file) pieces('a thumbnail', Buffer.from(file.thumbnail, 'base64').subarray(-400)) // before that JPEGs of one encoder are alike
      }
      if (at.startsWith(`rookery-page:${who.name} files`)) pieces(`picture ${++pictures}`, body.subarray(-400))
      if (!at.startsWith(`rookery-keys:${who.name}:`)) continue
      for (const [row, value] of rowsOf(body)) {
        if (row === 'identity') secrets['the identity'] = value
        if (row === 'account') pieces('the device\u2019s keys', value)
        if (/^(out|in|olm)\//.test(row)) pieces(`a session, ${row.split('/')[0]},`, value)
      }
    }
    expect(Object.keys(secrets)).toEqual(expect.arrayContaining(['the identity', 'the device\u2019s keys from 0', 'a session, out, from 0', 'a session, in, from 0', 'a session, olm, from 0', 'what opens a picture', 'a thumbnail from 0', 'picture 1 from 0', ...(who === alice ? ['picture 2 from 0'] : [])]))
    for (const [name, secret] of Object.entries(secrets)) {
      expect(where(opened, secret), `${name}: the search finds it where it is opened`).not.toEqual([])
      expect(where(shut, secret), `${name} of ${who.name}`).toEqual([])
    }
    expect(where(shut, Buffer.from(said.alice)), 'what was said before the edit').toEqual([])
    // docs/encryption.md says that names are in the clear; so the search finds what lies open.
    expect(where(shut, Buffer.from(other.name))).not.toEqual([])
    expect(keys.length).toBeGreaterThanOrEqual(2)
    expect(keys.filter(([, givenOut]) => givenOut)).toEqual([])
  }
})
