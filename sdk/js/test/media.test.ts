// Uploads and downloads over a network that breaks, on a real server, in Node and in Chromium.
import { rmSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'

import { bodyOf, type Client, fetchFile, fileOf, Media, mediaTries, type Sent, sendFile } from '../src/index.ts'
import { Browser } from './tab.ts'
import { dir, fresh, next, openDevice, Server, token } from './world.ts'

const part = 8 << 20
const file = new Uint8Array(2 * part + 4321).map((_, i) => i * 31 + (i >> 11) + (i >> 20)) // no part is another

let server: Server

beforeAll(async () => {
  server = await Server.start()
})

afterEach(() => vi.unstubAllGlobals())

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true, force: true })
})

const mediaOf = (user: string) => new Media(server.web, () => token(user))

/** Has requests go through a network that a test breaks, and notes them: PUT and the part, from 0, else method and path. */
function network(breaks: (asked: string[], go: () => Promise<Response>) => Promise<Response>): string[] {
  const asked: string[] = []
  const real = fetch
  vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
    const { body, method = 'GET', headers } = init
    const at = body instanceof Uint8Array ? [0, 1, 2].find((n) => same(body, file.subarray(n * part, (n + 1) * part))) : null
    const range = (headers as Record<string, string>)['Range']
    asked.push(method === 'PUT' ? `PUT ${at}` : range ? `GET ${range}` : `${method} ${new URL(url).pathname.replace(/[^/]{30,}/, 'NAME').replace(/^\/media\/.*/, 'blob')}`)
    return breaks(asked, () => real(url, init))
  })
  return asked
}

/** Reports whether bytes are those of the file: to compare them one by one, as matchers do, takes minutes. */
const same = (bytes: Uint8Array, as = file) => Buffer.compare(bytes, as) === 0

const times = (asked: string[], each: string) => asked.filter((one) => one === each).length

test('an upload that is cut off goes on with the parts that are missing, and tells how far it is', async () => {
  const media = mediaOf(fresh('alice'))
  const asked = network(async (all, go) => {
    if (all.at(-1) === 'PUT 1' && times(all, 'PUT 1') === 1) throw new TypeError('the network is gone')
    return go()
  })
  const told: number[] = []
  const name = await media.upload(file, { progress: (done, total) => void told.push(total === file.length ? done : -1) })
  expect(asked.filter((each) => each.startsWith('PUT'))).toEqual(['PUT 0', 'PUT 1', 'PUT 1', 'PUT 2'])
  expect(times(asked, 'POST /v1/media')).toBe(1)
  expect(told[0]).toBe(0)
  expect(told.at(-1)).toBe(file.length)
  expect(told).toEqual(expect.arrayContaining([part, 2 * part]))
  expect(same(await media.download(name))).toBe(true)
})

test('an upload goes on after an end of the process, and one that is gone is begun anew', async () => {
  const user = fresh('alice')
  let name = ''
  const end = new AbortController()
  const first = mediaOf(user).upload(file, { begun: (begun) => (name = begun), progress: (done) => done >= part && end.abort(), signal: end.signal })
  await expect(first).rejects.toMatchObject({ name: 'AbortError' })
  const asked = network((_, go) => go())
  const media = mediaOf(user)
  expect(await media.upload(file, { name })).toBe(name)
  expect(asked.filter((each) => each.startsWith('PUT'))).toEqual(['PUT 1', 'PUT 2'])
  await expect(media.upload(file.subarray(1), { name })).rejects.toMatchObject({ codeName: 'bad_media' })
  expect(await media.upload(file, { name })).toBe(name) // it is there, which is not repeated
  expect(times(asked, 'PUT 0')).toBe(0)
  await media.drop(name)
  await expect(media.download(name)).rejects.toMatchObject({ codeName: 'not_found' })
})

test('a download that is cut off goes on where it was', async () => {
  const media = mediaOf(fresh('alice'))
  const name = await media.upload(file)
  let broken = 0
  const asked = network(async (all, go) => {
    const response = await go()
    if (!/^GET (blob|bytes)/.test(all.at(-1)!) || ++broken > 2) return response
    let left = 5 << 20
    const cutOff = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, to) {
        to.enqueue(chunk.subarray(0, left))
        if ((left -= chunk.length) <= 0) to.error(new TypeError('the network is gone'))
      },
    })
    return new Response(response.body!.pipeThrough(cutOff), response)
  })
  const told: number[] = []
  expect(same(await media.download(name, { progress: (done) => void told.push(done) }))).toBe(true)
  expect(times(asked, 'GET blob')).toBe(1)
  const from = asked.flatMap((each) => (each.startsWith('GET bytes=') ? [parseInt(each.slice('GET bytes='.length))] : []))
  expect(from.length).toBe(2)
  expect(from[0]).toBeGreaterThan(0)
  expect(from[1]).toBeGreaterThan(from[0]!)
  expect(told).toEqual([...told].sort((a, b) => a - b))
  expect(told.at(-1)).toBe(file.length)
  await expect(media.download(name, { maxBytes: file.length - 1 })).rejects.toMatchObject({ codeName: 'too_large' })
})

test('a network that stays away ends an upload after so many tries', async () => {
  const asked = network(async (all, go) => {
    if (all.at(-1)!.startsWith('PUT')) throw new TypeError('the network is gone')
    return go()
  })
  await expect(mediaOf(fresh('alice')).upload(file)).rejects.toMatchObject({ codeName: 'unavailable' })
  expect(times(asked, 'PUT 0')).toBe(mediaTries)
})

test('a file is sent encrypted, and fetched', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const [a, b] = await Promise.all([openDevice(server, alice, 'one'), openDevice(server, bob, 'one')])
  const bytes = file.subarray(0, 70_000)
  await (await sendFile(a, mediaOf(alice), bob, { bytes, name: '../shore.bin', type: 'text/plain', thumbnail: new Uint8Array([1, 2]), text: 'look' })).durable()
  const { message } = await next(b, 'typed')
  const got = fileOf(message.content!)!
  expect(got).toMatchObject({ name: 'shore.bin', type: 'text/plain', text: 'look', thumbnail: 'AQI=', size: 70_000 })
  expect(message.media).toBe(`media:${got.blob}`)
  expect(await fetchFile(mediaOf(bob), got)).toEqual(bytes)
  await expect(fetchFile(mediaOf(bob), { ...got, size: 1000 })).rejects.toMatchObject({ codeName: 'too_large' })
  expect((await mediaOf(bob).download(got.blob)).length).toBeLessThan(70_000 * 1.125)
  await Promise.all([a.close(), b.close()])
})

test('a file whose message is deleted for everyone cannot be fetched any more, once that is durable', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const [a, b] = await Promise.all([openDevice(server, alice, 'one'), openDevice(server, bob, 'one')])
  const sent = await sendFile(a, mediaOf(alice), bob, { bytes: file.subarray(0, 1000), name: 'regretted.jpg', type: 'image/jpeg' })
  await sent.durable()
  const { blob } = fileOf((await next(b, 'typed')).message.content!)!
  const deletes = (c: Client, to: string) => c.sendBody(to, bodyOf('delete', { target: sent.id }))
  await expect(mediaOf(bob).dropAfter(await deletes(b, alice), blob)).rejects.toMatchObject({ codeName: 'forbidden' })
  await expect(mediaOf(alice).dropAfter({ durable: () => Promise.reject(new Error('refused')) } as unknown as Sent, blob)).rejects.toThrow('refused')
  await mediaOf(bob).download(blob)
  const deletion = await deletes(a, bob)
  const asked = network(async (all, go) => {
    expect(deletion.status).not.toBe('pending')
    if (times(all, 'DELETE /v1/media/NAME') < mediaTries) throw new TypeError('the network is gone')
    return go()
  })
  await mediaOf(alice).dropAfter(deletion, blob)
  expect(asked.length).toBe(mediaTries)
  await expect(mediaOf(bob).download(blob)).rejects.toMatchObject({ codeName: 'not_found' })
  await mediaOf(alice).dropAfter(deletion, blob) // another device may have been first
  await Promise.all([a.close(), b.close()])
})

test('in a page it is told while the bytes of a part leave', async () => {
  const browser = await Browser.start()
  try {
    const user = fresh('bob')
    const tab = await browser.open(server, user)
    const slow = await tab.page.context().newCDPSession(tab.page)
    await slow.send('Network.enable')
    await slow.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 4 << 20 })
    const { told, same } = (await tab.call('upload', server.web, token(user), 3 << 20)) as { told: number[]; same: boolean }
    expect(told.filter((done) => done > 0 && done < 3 << 20).length).toBeGreaterThan(1)
    expect(told.at(-1)).toBe(3 << 20)
    expect(same).toBe(true)
  } finally {
    await browser.close()
  }
})
