// Devices in pages of a real Chromium.
import { readFileSync } from 'node:fs'
import { createServer, type Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type BrowserContext, chromium, type Page } from 'playwright-core'

import { type At, dir, token } from './world.ts'

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** A browser, and a server of its pages. */
export class Browser {
  private constructor(
    private readonly context: BrowserContext,
    private readonly pages: HttpServer,
  ) {}

  static async start(): Promise<Browser> {
    const bundled = await build({ entryPoints: [fileURLToPath(new URL('page.ts', import.meta.url))], bundle: true, format: 'esm', target: 'es2022', write: false, logLevel: 'error' })
    const files: Record<string, [string, Uint8Array]> = {
      '/': ['text/html', new TextEncoder().encode('<!doctype html><script type="module" src="/page.js"></script>')],
      '/page.js': ['text/javascript', bundled.outputFiles[0]!.contents],
      '/e2ee.wasm': ['application/wasm', readFileSync(new URL('../src/e2ee/e2ee.wasm', import.meta.url))],
    }
    const pages = createServer((request, response) => {
      const file = files[request.url!]
      response.writeHead(file ? 200 : 404, { 'Content-Type': file?.[0] ?? 'text/plain' }).end(file?.[1])
    })
    await new Promise<void>((done) => pages.listen(0, '127.0.0.1', done))
    const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
    return new Browser(await chromium.launchPersistentContext(join(dir, 'profile'), { executablePath, args: flags, headless: true }), pages)
  }

  /** Opens a page with a device; with a clock, that is what it is there. */
  async open(server: At, user: string, options: object = {}, clock?: Date): Promise<Tab> {
    const page = await this.context.newPage()
    if (clock) await page.clock.setSystemTime(clock)
    const tab = new Tab(page, `http://127.0.0.1:${(this.pages.address() as AddressInfo).port}/`)
    await tab.load(server, user, options)
    return tab
  }

  async close(): Promise<void> {
    await this.context.close()
    this.pages.close()
  }
}

type Rookery = { rookery(name: string, ...args: unknown[]): Promise<unknown> }

/** A device in a page. */
export class Tab {
  constructor(
    readonly page: Page,
    private readonly address: string,
  ) {}

  async load(server: At, user: string, options: object = {}): Promise<void> {
    await this.page.goto(this.address)
    await this.page.waitForFunction(() => 'rookery' in globalThis)
    await this.call('open', server.url, user, 'page', token(user), options)
  }

  /** Calls what test/page.ts has by a name. */
  call<T>(name: string, ...args: unknown[]): Promise<T> {
    return this.page.evaluate(([name, args]) => (globalThis as unknown as Rookery).rookery(name, ...args), [name, args] as const) as Promise<T>
  }
}
