// The page and the command line (the Go SDK): texts and a picture each way.
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { BrowserContext } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { breaches, browser, dir, fresh, rookery, Server, Somebody } from './world.ts'

let server: Server
let context: BrowserContext
const running: ChildProcess[] = []

beforeAll(async () => {
  server = await Server.start()
  context = await browser('interop', () => server)
})

afterAll(async () => {
  for (const child of running) child.kill()
  await context?.close()
  await server?.kill()
  rmSync(dir, { recursive: true, force: true })
})

/** A command as a user, who is end-to-end encrypted; its lines. */
function go(command: string, user: string, ...args: string[]): AsyncIterator<string> {
  const all = [command, ...args, `--url=${server.sockets}`, `--web=${server.web}`, `--data=${server.data}`, `--as=${user}`]
  const child = spawn(rookery, all, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ROOKERY_BIN: undefined } })
  running.push(child)
  return createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
}

test('the page and the command line read each other, and see each other\u2019s pictures', async () => {
  const bob = fresh('bob')
  const alice = await Somebody.enter(context, server, fresh('alice'))
  const heard = go('tail', bob, `--save=${dir}`)
  await alice.chatWith(bob)
  await alice.say('from the page') // waits until Bob has keys
  expect((await heard.next()).value).toContain(`${alice.name}: from the page`)
  await alice.tick('from the page', 'read')
  // Pictures are what the page looks like: PNGs of these sizes.
  const picture = (width: number, height: number) => alice.page.screenshot({ clip: { x: 0, y: 0, width, height } })
  await alice.page.getByLabel('Send a picture').setInputFiles({ name: 'shore.png', mimeType: 'image/png', buffer: await picture(400, 200) })
  expect((await heard.next()).value).toContain('file saved as')
  const saved = readdirSync(dir).find((name) => name.startsWith('shore.'))!
  expect(readFileSync(join(dir, saved)).subarray(0, 3).toString('hex')).toBe('ffd8ff') // a JPEG, as the page makes pictures

  const sent = join(dir, 'cliff.png')
  writeFileSync(sent, await picture(300, 150))
  go('send', bob, `--to=${alice.name}`, `--file=${sent}`, 'look at this')
  await alice.message('look at this').waitFor()
  await alice.page.getByRole('button', { name: 'cliff.png' }).click()
  const whole = alice.page.getByRole('dialog').getByRole('img', { name: 'cliff.png' })
  await whole.waitFor()
  expect(await whole.evaluate((img: HTMLImageElement) => img.decode().then(() => [img.naturalWidth, img.naturalHeight]))).toEqual([300, 150])
  expect(breaches.splice(0)).toEqual([])
})
