// Go (the command line, and examples/go, which answers whoever writes), Node and a page in Chromium, each with the others.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { Client, type EncryptedOptions, MemoryJournal, PlainClient } from '../src/index.ts'
import { Browser, type Tab } from './tab.ts'
import { data, dir, fresh, next, options, rookery, Server, text, token } from './world.ts'

const program = join(dir, 'answers')
const running: ChildProcess[] = []
let server: Server
let browser: Browser

beforeAll(async () => {
  execFileSync('go', ['build', '-o', program, './examples/go'], { cwd: '../..', stdio: 'inherit' })
  server = await Server.start()
  browser = await Browser.start()
}, 240_000)

afterAll(async () => {
  for (const child of running) child.kill()
  await browser?.close()
  await server?.kill()
  rmSync(dir, { recursive: true })
})

/** Two kinds of the same device: what a test does to it, on either side. */
interface Device {
  send(to: string, content: string): Promise<unknown>
  next(type: 'message' | 'identity_changed'): Promise<{ text?: string | null }>
  accept(user: string): Promise<unknown>
  close(): Promise<unknown>
}

const inNode = async (user: string, more: Partial<EncryptedOptions> = {}): Promise<Device> => {
  const c = await Client.connect({ ...options(server, user), device: 'page', journal: new MemoryJournal(), keyFile: join(dir, `${user}.keys`), refreshMs: 0.001, ...more })
  await c.published()
  return {
    send: async (to, content) => (await c.send(to, content)).durable(),
    next: async (type) => {
      const e = await next(c, type)
      c.handled()
      return { text: e.type === 'message' ? text(e.message) : null }
    },
    accept: (user) => c.accept(user),
    close: () => c.close(),
  }
}

const deviceOf = (tab: Tab): Device => ({
  send: (to, content) => tab.call('send', to, content, true),
  next: (type) => tab.call('next', type),
  accept: (user) => tab.call('accept', user),
  close: () => tab.call('close').then(() => tab.page.close()),
})

const inPage = async (user: string): Promise<Device> => {
  const tab = await browser.open(server, user, { forgets: true })
  await tab.call('published')
  return deviceOf(tab)
}

const kinds: [string, (user: string) => Promise<Device>][] = [
  ['Node', inNode],
  ['a page', inPage],
]

/** Starts a device in Go that answers whoever writes, and returns what it prints: a line for each message. */
function answering(user: string): AsyncIterator<string> {
  const child = spawn(program, [server.url, user], { cwd: dir, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, TOKEN: token(user) } })
  running.push(child)
  return createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
}

const line = async (lines: AsyncIterator<string>) => (await lines.next()).value

/** A command as a user. */
function go(command: string, user: string, ...args: string[]): ChildProcess {
  const all = [command, ...args, `--url=${server.url}`, `--data=${data}`, `--as=${user}`]
  const child = spawn(rookery, all, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ROOKERY_BIN: undefined } })
  running.push(child)
  return child
}

const plain = (user: string, device: string, more = {}) => PlainClient.connect({ ...options(server, user), device, journal: new MemoryJournal(), ...more })

/** What comes when a user's keys are there, which is when their device has started. */
async function whenThereAreKeys(send: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await send()
      return
    } catch (err) {
      if (!/no_keys|no keys/.test(`${(err as { reason?: string }).reason} ${err}`)) throw err
      await new Promise((done) => setTimeout(done, 200)) // the server bounds how often one may ask
    }
  }
}

/** The ciphertexts from one to another, newest first, as the server keeps them. */
async function ciphertexts(from: string, to: string): Promise<Uint8Array[]> {
  const spy = await plain(from, 'spy', { sendOnly: true })
  const { messages } = await spy.history(to)
  await spy.close()
  return messages.filter((m) => m.suite === 1 && m.from === from).map((m) => m.content!)
}

for (const [kind, open] of kinds) {
  test(`Go and ${kind}: a lost key is asked for, and what waited for it comes`, async () => {
    const [ann, bob] = [fresh('ann'), fresh('bob')]
    const heard = answering(ann)
    let device = await open(bob)
    await whenThereAreKeys(() => device.send(ann, 'one'))
    expect(await line(heard)).toBe(`${bob}: one`)
    while ((await ciphertexts(ann, bob)).length === 0); // its answer is with the server
    await device.close()
    // The device's cursor moves behind the key, which nobody has read.
    const thief = await plain(bob, 'page')
    expect((await next(thief, 'message')).message.suite).toBe(2)
    thief.handled()
    await thief.close()
    device = await open(bob)
    expect((await device.next('message')).text).toBe('you said one')
    await device.send(ann, 'two')
    expect((await device.next('message')).text).toBe('you said two')
    await device.close()
  })
}

test('another identity is told to Go and to a page, which write no more until it is accepted', async () => {
  const [ann, bob, carol] = [fresh('ann'), fresh('bob'), fresh('carol')]
  const before = await inNode(bob)
  const page = await inPage(carol)
  await page.send(bob, 'one')
  expect((await before.next('message')).text).toBe('one')
  const tail = go('tail', ann)
  await whenThereAreKeys(() => before.send(ann, 'one'))
  expect(await line(createInterface({ input: tail.stdout! })[Symbol.asyncIterator]())).toContain(`${bob}: one`)
  await before.close()
  const after = await inNode(bob, { device: 'anew', keyFile: join(dir, `${bob}.other`), resetIdentity: true })
  await after.send(ann, 'two')
  let told = ''
  for await (const more of tail.stderr!) if ((told += more).includes(`the identity of ${bob} has changed`)) break
  expect(told).toContain('compare safety numbers')
  await expect(page.send(bob, 'two')).rejects.toThrow('has changed')
  await page.next('identity_changed')
  await page.accept(bob)
  await page.send(bob, 'three')
  expect((await after.next('message')).text).toBe('three')
  await Promise.all([after.close(), page.close()])
})

test('a page that was away for a day gets what it missed, in order, and what it wrote arrives once', async () => {
  const [ann, bob, carol] = [fresh('ann'), fresh('bob'), fresh('carol')]
  const heard = answering(ann)
  const node = await inNode(carol)
  let tab = await browser.open(server, bob)
  await tab.call('published')
  await whenThereAreKeys(() => tab.call('send', ann, 'one', true))
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'you said one' })
  await node.send(bob, 'two')
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'two' })
  const { address } = server
  await server.kill()
  await tab.call('send', ann, 'kept', false)
  await tab.call('close') // else what was handled just now may come again
  await tab.page.close()
  server = await Server.start(address)
  for (const missed of ['three', 'four', 'five']) await node.send(bob, missed)
  const tomorrow = new Date(Date.now() + 86_400_000)
  tab = await browser.open(server, bob, {}, tomorrow)
  expect(await tab.call<number>('now')).toBeGreaterThanOrEqual(tomorrow.getTime())
  for (const missed of ['three', 'four', 'five', 'you said kept']) expect(await tab.call('next', 'message')).toMatchObject({ text: missed })
  await tab.call('send', ann, 'six', true)
  expect(await tab.call('next', 'message')).toMatchObject({ text: 'you said six' })
  expect([await line(heard), await line(heard), await line(heard)]).toEqual([`${bob}: one`, `${bob}: kept`, `${bob}: six`])
  await Promise.all([node.close(), tab.page.close()])
})
