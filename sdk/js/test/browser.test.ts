import { readFileSync, rmSync } from 'node:fs'
import { createServer, type Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { build } from 'esbuild'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { Client } from '../src/index.ts'
import { FileJournal } from '../src/node/index.ts'
import { dir, fresh, next, options, Server, text, token } from './world.ts'

let server: Server
let pages: HttpServer
let context: BrowserContext

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

beforeAll(async () => {
  server = await Server.start()
  const bundled = await build({ entryPoints: ['test/page.ts'], bundle: true, format: 'esm', target: 'es2022', write: false, logLevel: 'error' })
  const files: Record<string, [string, Uint8Array]> = {
    '/': ['text/html', new TextEncoder().encode('<!doctype html><script type="module" src="/page.js"></script>')],
    '/page.js': ['text/javascript', bundled.outputFiles[0]!.contents],
    '/e2ee.wasm': ['application/wasm', readFileSync('src/e2ee/e2ee.wasm')],
  }
  pages = createServer((request, response) => {
    const file = files[request.url!]
    response.writeHead(file ? 200 : 404, { 'Content-Type': file?.[0] ?? 'text/plain' }).end(file?.[1])
  })
  await new Promise<void>((done) => pages.listen(0, '127.0.0.1', done))
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
  context = await chromium.launchPersistentContext(join(dir, 'profile'), { executablePath, args: flags, headless: true })
})

afterAll(async () => {
  await context?.close()
  pages?.close()
  await server?.kill()
  rmSync(dir, { recursive: true })
})

type Rookery = { rookery(name: string, ...args: unknown[]): Promise<unknown> }

/** A device in a page. */
class Tab {
  constructor(readonly page: Page) {}

  static async open(user: string, device = 'page'): Promise<Tab> {
    const tab = new Tab(await context.newPage())
    await tab.load(user, device)
    return tab
  }

  async load(user: string, device = 'page'): Promise<void> {
    await this.page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`)
    await this.page.waitForFunction(() => 'rookery' in globalThis)
    await this.call('open', server.url, user, device, token(user))
  }

  call<T>(name: string, ...args: unknown[]): Promise<T> {
    return this.page.evaluate(([name, args]) => (globalThis as unknown as Rookery).rookery(name, ...args), [name, args] as const) as Promise<T>
  }
}

async function node(user: string): Promise<Client> {
  const path = join(dir, user)
  const c = await Client.connect({ ...options(server, user), journal: new FileJournal(`${path}.journal`), keyFile: `${path}.keys`, refreshMs: 0.001 })
  await c.published()
  return c
}

test('page and Node read each other; a reload loses nothing; keys cannot be taken out', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const n = await node(alice)
  const tab = await Tab.open(bob)
  await tab.call('published')
  await (await n.send(bob, 'from Node')).durable()
  expect(await tab.call('next', 'message')).toMatchObject({ from: alice, text: 'from Node' })
  await tab.call('send', alice, 'from the page', true)
  expect(text((await next(n, 'message')).message)).toBe('from the page')
  expect(await tab.call('safety', alice)).toBe((await n.safety(bob)).digits)
  expect(await tab.call('keys', `rookery-keys:${bob}:page`)).toBe(false)
  await tab.load(bob)
  await (await n.send(bob, 'after the reload')).durable()
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'after the reload' })
  expect(await tab.call('history', alice)).toEqual(['after the reload', 'from the page', 'from Node'])
  await tab.page.close()
  await n.close()
})

test('page to page, an attachment', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const [a, b] = [await Tab.open(alice), await Tab.open(bob)]
  await Promise.all([a.call('published'), b.call('published')])
  await a.call('send', bob, 'hello', true)
  expect(await b.call('next', 'message')).toMatchObject({ text: 'hello' })
  expect(await a.call('attachment')).toBe(true)
  await Promise.all([a.page.close(), b.page.close()])
})

test('offline: what is sent waits over a reload, what was missed comes', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const n = await node(alice)
  const tab = await Tab.open(bob)
  await tab.call('published')
  await tab.call('send', alice, 'one', true)
  expect(text((await next(n, 'message')).message)).toBe('one')
  await (await n.send(bob, 'two')).durable()
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'two' })
  const { address } = server
  await server.kill() // nobody can reach it
  await tab.call('send', alice, 'kept', false)
  await tab.load(bob)
  expect(await tab.call('outbox')).toBe(1)
  const waiting = await n.send(bob, 'missed')
  server = await Server.start(address)
  await waiting.durable()
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'missed' })
  expect(text((await next(n, 'message')).message)).toBe('kept')
  await tab.page.close()
  await n.close()
})
