import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import { type BrowserContext, chromium, type Locator, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'

import { dir, Server } from '../../sdk/js/test/world.ts'

export { data, dir, rookery, type Server } from '../../sdk/js/test/world.ts'

/** The longest wait for what should come: a busy machine is slow, and not wrong. */
export const waitMs = 100_000

/** Where the tests leave their screenshots. */
export const shots = new URL('../shots/', import.meta.url).pathname
mkdirSync(shots, { recursive: true })

/** A server of its own for these tests, as `make run` starts one. */
async function startServer(more: string[]): Promise<Server> {
  const server = await Server.start(more)
  const { encryption } = (await (await fetch(`${server.web}config`)).json()) as { encryption: boolean }
  if (encryption) return server
  await server.kill()
  throw new Error('the server was built without the page\u2019s encryption: run make build')
}

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** Breaches of the Content-Security-Policy, faults, and requests to others than the server, of all browsers so far. */
export const breaches: string[] = []

/** A browser of its own, with its own storage. */
async function browser(name: string, world: World): Promise<BrowserContext> {
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
  const context = await chromium.launchPersistentContext(join(dir, name), { executablePath, args: flags, headless: true })
  context.setDefaultTimeout(waitMs)
  context.on('request', (request) => {
    const { host, protocol } = new URL(request.url())
    if (protocol !== 'blob:' && host !== new URL(world.server.web).host) breaches.push(`asked ${request.url()}`)
  })
  context.on('page', watch)
  context.pages().forEach(watch)
  return context

  function watch(page: Page): void {
    page.on('websocket', (socket) => {
      if (!socket.url().startsWith(`${world.sockets ?? world.server.url}/`)) breaches.push(`connected to ${socket.url()}`)
    })
    page.on('pageerror', (error) => breaches.push(`fault: ${error}`))
    page.on('console', (message) => {
      // A server that was killed is told of by the browser as an error too.
      if (message.type() === 'error' && !/ERR_CONNECTION|WebSocket connection to/.test(message.text())) breaches.push(`console: ${message.text()}`)
    })
  }
}

/** Two browsers at a server, for the tests of a file. */
export interface World {
  server: Server
  one: BrowserContext
  two: BrowserContext
  /** Where pages connect to, if that is not the server itself. */
  sockets?: string
}

/** Sets a world up for the tests of a file, whose server has more settings. After each its pages are closed, and nothing may have gone wrong in one. */
export function setUp(...more: string[]): World {
  const world = { sockets: more.find((each) => each.startsWith('--web-sockets='))?.split('=')[1] } as World
  const contexts = () => [world.one, world.two].filter((each) => each)
  beforeAll(async () => {
    world.server = await startServer(more)
    ;[world.one, world.two] = await Promise.all([browser('one', world), browser('two', world)])
  })
  afterAll(async () => {
    await Promise.all(contexts().map((each) => each.close()))
    await world.server?.kill()
    rmSync(dir, { recursive: true, force: true })
  })
  afterEach(async ({ task }) => {
    const pages = contexts().flatMap((each) => each.pages().slice(1))
    const shown = task.result?.state === 'fail' ? await Promise.all(pages.map(shownBy)) : []
    await Promise.all(pages.map((page) => page.close()))
    const wrong = breaches.splice(0)
    if (shown.length > 0) throw new Error(['what the pages showed when it failed:', ...shown, ...wrong].join('\n'))
    expect(wrong).toEqual([])
  })
  return world
}

/** Of the open chat so many of the last lines tell what a page shows. */
const lastLines = 6

/** What a page shows, in a few lines: why a wait for something else was in vain. */
async function shownBy(page: Page): Promise<string> {
  const shown = page.evaluate((n) => {
    const textOf = (element: Element | null) => (element as HTMLElement | null)?.innerText?.replace(/\s+/g, ' ').trim() ?? ''
    const each = (where: string) => [...document.querySelectorAll(where)].filter((one) => one.checkVisibility()).map(textOf).filter((text) => text)
    const of = (where: string) => each(where)[0] ?? ''
    const state = document.querySelector<HTMLElement>('#state')?.title
    return [
      `${of('#me') || 'nobody'}: ${of('#state')}${state ? ` (${state})` : ''}`,
      `chats: ${each('#chats li').join(' | ')}`,
      `open: ${of('#with')} (${of('#presence')})`,
      ...each('#log article').slice(-n),
      ...each('dialog[open]').map((text) => `dialog: ${text}`),
      ...each('[role=alert]').map((text) => `alert: ${text}`),
    ].join('\n    ')
  }, lastLines)
  return shown.catch((err) => `a page that cannot be asked: ${err}`)
}

/** Two who have written to each other, each in a browser of their own. */
export async function pair({ one, two, server }: World, a = 'alice', b = 'bob'): Promise<[Somebody, Somebody]> {
  const [alice, bob] = await Promise.all([Somebody.enter(one, server, fresh(a)), Somebody.enter(two, server, fresh(b))])
  await alice.chatWith(bob.name)
  await alice.say('hello')
  await bob.page.getByRole('button', { name: alice.name }).click()
  await bob.message('hello').waitFor()
  await alice.tick('hello', 'read')
  return [alice, bob]
}

/**
 * Shows views of a page in light and dark, on a desktop and a phone, takes a screenshot of each, and returns what axe-core finds and
 * what lies beside the screen.
 */
export async function looks(page: Page, views: [string, () => Promise<unknown>][]): Promise<string[]> {
  const found: string[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    const rules = colorScheme === 'dark' ? ['color-contrast'] : [] // the others look at no colours
    for (const [size, viewport] of [['desktop', { width: 1100, height: 720 }], ['phone', { width: 360, height: 640 }]] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await page.setViewportSize(viewport)
      for (const [view, show] of views) {
        await show()
        await page.screenshot({ path: join(shots, `${view}-${colorScheme}-${size}.png`) })
        const beside = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
        found.push(...[...(await faults(page, rules)), ...(beside > 0 ? [`${beside} px beside the screen`] : [])].map((each) => `${view}, ${colorScheme}, ${size}: ${each}`))
        await page.keyboard.press('Escape')
      }
    }
  }
  return found
}

const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')

type Axe = { axe: { run(options: object): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } }

/** Faults of accessibility, by all rules of axe-core, or by some. */
export async function faults(page: Page, rules: string[] = []): Promise<string[]> {
  await page.evaluate(axe)
  return page.evaluate(async (only) => {
    const { violations } = await (globalThis as unknown as Axe).axe.run(only.length > 0 ? { runOnly: only } : {})
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}`))
  }, rules)
}

/** Somebody at the page. */
export class Somebody {
  constructor(
    readonly page: Page,
    readonly name: string,
  ) {}

  /** Opens the page in a new tab and picks a name. */
  static async enter(context: BrowserContext, server: Server, name: string): Promise<Somebody> {
    const somebody = new Somebody(await context.newPage(), name)
    await somebody.page.goto(server.web)
    await somebody.page.getByLabel('Your name').fill(name)
    await somebody.page.getByRole('button', { name: 'Start' }).click()
    await somebody.online()
    return somebody
  }

  async online(): Promise<void> {
    await this.page.getByText('Connected, end-to-end encrypted').waitFor()
  }

  async chatWith(peer: string): Promise<void> {
    await this.page.getByLabel('Chat with').fill(peer)
    await this.page.keyboard.press('Enter')
    await this.page.getByRole('heading', { level: 1, name: peer, exact: true }).waitFor()
  }

  /** Makes a group and opens it. */
  async makeGroup(name: string, ...others: string[]): Promise<void> {
    await this.page.getByRole('button', { name: 'New group' }).click()
    await this.page.getByLabel('Name of the group').and(this.page.locator('#group-name')).fill(name)
    await this.page.getByLabel('Members', { exact: true }).and(this.page.locator('input')).fill(others.join(' '))
    await this.page.keyboard.press('Enter')
    await this.opened(name)
  }

  /** Opens a chat of the list. */
  async choose(title: string): Promise<void> {
    await this.page.locator('#chats').getByRole('button', { name: title }).click()
    await this.opened(title)
  }

  async opened(title: string): Promise<void> {
    await this.page.getByRole('heading', { level: 1, name: title, exact: true }).waitFor()
  }

  /** Opens the members of the open group. */
  async members(): Promise<Locator> {
    await this.page.getByRole('button', { name: 'Members', exact: true }).click()
    return this.page.getByRole('dialog')
  }

  /** Waits for a line that tells of a change of the open group. */
  async line(text: string): Promise<void> {
    await this.page.locator('#log .change').filter({ hasText: text }).first().waitFor()
  }

  /** What the open group's lines say, in order. */
  async lines(): Promise<string[]> {
    return this.page.locator('#log .change').allTextContents()
  }

  async say(text: string): Promise<void> {
    await this.page.getByRole('textbox', { name: 'Message' }).fill(text)
    await this.page.getByRole('button', { name: 'Send', exact: true }).click()
  }

  /** Opens what can be done with a message of the open chat. */
  async act(text: string): Promise<Locator> {
    await this.message(text).first().getByRole('button', { name: 'Reply, react and more' }).click()
    return this.page.getByRole('dialog')
  }

  /** Forgets the messages that this browser keeps, but not its keys, as if the user had not been here before; and loads the page again. */
  async forget(): Promise<void> {
    await this.page.evaluate(async (user) => {
      const requested = <T>(request: IDBRequest<T>) => new Promise<T>((done) => (request.onsuccess = () => done(request.result)))
      const tx = (await requested(indexedDB.open(`rookery-page:${user}`))).transaction(['rows', 'chats'], 'readwrite')
      for (const name of ['rows', 'chats']) await requested(tx.objectStore(name).clear())
    }, this.name)
    await this.page.reload()
    await this.online()
  }

  /** A message of the open chat. */
  message(text: string) {
    return this.page.getByRole('log').getByRole('article').filter({ hasText: text })
  }

  /** Waits until the user's own message has come so far. */
  async tick(text: string, tick: string): Promise<void> {
    await this.message(text).getByRole('img', { name: tick, exact: true }).waitFor()
  }

  /** What the log shows, in order. */
  async texts(): Promise<string[]> {
    return this.page.locator('#log .text').allTextContents()
  }

  async aeroplane(on: boolean): Promise<void> {
    await this.page.getByRole('switch', { name: 'Aeroplane mode' }).setChecked(on)
    if (on) await this.page.getByText('Aeroplane mode. What you write').waitFor()
    else await this.online()
  }
}

/** A PNG of one colour into another. */
export function png(width: number, height: number): Buffer {
  const table = Array.from({ length: 256 }, (_, n) => { for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1; return n >>> 0 })
  const crc = (b: Buffer) => (b.reduce((c, x) => table[(c ^ x) & 255]! ^ (c >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)]
    length.writeUInt32BE(data.length)
    sum.writeUInt32BE(crc(body))
    return Buffer.concat([length, body, sum])
  }
  const head = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0])
  head.writeUInt32BE(width, 0)
  head.writeUInt32BE(height, 4)
  const rows = Buffer.alloc(height * (1 + 3 * width))
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) rows.set([70 + (90 * y) / height, 140 + (60 * x) / width, 130], y * (1 + 3 * width) + 1 + 3 * x)
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', head), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))])
}

/** A name that no other test uses. */
let names = 0
export const fresh = (name: string) => `${name}-${process.pid}${names++}`
