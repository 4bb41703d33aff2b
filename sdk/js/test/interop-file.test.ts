// A file from Go (the command line) to Node, and one back.
import { execFile, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { fetchFile, fileOf, Media, sendFile } from '../src/index.ts'
import { data, dir, fresh, next, openDevice, rookery, Server, token } from './world.ts'

let server: Server

beforeAll(async () => {
  server = await Server.start()
})

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true })
})

const bytesOf = (seed: number) => new Uint8Array(300_001).map((_, i) => i * seed + (i >> 9))

test('Go sends a file that Node reads, and Node one that Go saves', async () => {
  const [ann, bob] = [fresh('ann'), fresh('bob')]
  const node = await openDevice(server, bob, 'node')
  const media = new Media(server.web, () => token(bob))
  const go = [`--as=${ann}`, '--device=go', `--url=${server.url}`, `--web=${server.web}`, `--data=${data}`]
  const env = { ...process.env, ROOKERY_BIN: undefined }

  const [there, back] = [bytesOf(31), bytesOf(37)]
  writeFileSync(join(dir, 'shore.bin'), there)
  await promisify(execFile)(rookery, ['send', ...go, `--to=${bob}`, '--wait=durable', `--file=${join(dir, 'shore.bin')}`, 'look'], { env })
  const { message } = await next(node, 'typed')
  node.handled()
  const file = fileOf(message.content!)!
  expect(file).toMatchObject({ name: 'shore.bin', size: there.length, text: 'look' })
  expect(Buffer.compare(await fetchFile(media, file), there)).toBe(0)

  const saved = join(dir, 'saved')
  mkdirSync(saved)
  const tail = spawn(rookery, ['tail', ...go, `--save=${saved}`], { stdio: 'pipe', env })
  try {
    const printed = createInterface({ input: tail.stdout })[Symbol.asyncIterator]()
    for await (const line of createInterface({ input: tail.stderr })) if (line.startsWith('caught up')) break
    await (await sendFile(node, media, ann, { bytes: back, name: 'cliff.bin', type: 'application/octet-stream', text: 'there' })).durable()
    const { value } = await printed.next()
    expect(value).toContain(`${bob}: `)
    expect(value).toContain('there')
    expect(Buffer.compare(readFileSync(join(saved, 'cliff.bin')), back)).toBe(0)
  } finally {
    tail.kill()
  }
  await node.close()
})
