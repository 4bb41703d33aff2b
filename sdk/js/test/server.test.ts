import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import WebSocket from 'ws'

import { Client, type ClientEvent, type ClientOptions, type Message } from '../src/index.ts'
import { FileJournal } from '../src/node/index.ts'

const rookery = resolve(process.env.ROOKERY_BIN || '../../bin/rookery')
const dir = mkdtempSync(join(tmpdir(), 'rookery-js-'))
const data = join(dir, 'data')
let server: Server

/** A server of its own for these tests, on the embedded defaults. */
class Server {
  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
  ) {}

  static async start(listen = '127.0.0.1:0'): Promise<Server> {
    if (!existsSync(rookery)) throw new Error(`there is no ${rookery}: run make build`)
    const env = { ...process.env, ROOKERY_BIN: undefined } // the server refuses settings that it does not know
    const args = ['serve', `--listen=${listen}`, '--admin=127.0.0.1:0', '--web=127.0.0.1:0', `--data=${data}`, '--log-level=error']
    const child = spawn(rookery, args, { stdio: ['ignore', 'pipe', 'inherit'], env })
    let url = ''
    for await (const line of createInterface({ input: child.stdout! })) {
      const at = /^sockets\s+(\S+)\/ws\//.exec(line)
      if (at) url = at[1]!
      if (/^ready/.test(line)) return new Server(url, child)
    }
    throw new Error('the server did not start')
  }

  get address(): string {
    return this.url.slice('ws://'.length)
  }

  async kill(): Promise<void> {
    const gone = new Promise((done) => this.child.once('exit', done))
    this.child.kill('SIGKILL')
    await gone
  }
}

/** A token by the server's development key. */
function token(user: string): string {
  const out = execFileSync('node', ['../../test/foreign/js/tokens.js', join(data, 'dev-key.json'), user], { encoding: 'utf8' })
  return JSON.parse(out)[user]
}

function options(user: string, more: Partial<ClientOptions> = {}): ClientOptions {
  return { url: server.url, user, device: 'node', token: () => token(user), WebSocket, backoffMinMs: 50, backoffMaxMs: 500, ...more }
}

/** A name that no other test uses. */
const fresh = (name: string) => `${name}-${randomUUID().slice(0, 8)}`

async function next<T extends ClientEvent['type']>(c: Client, type: T): Promise<Extract<ClientEvent, { type: T }>> {
  for (;;) {
    const event = await c.receive()
    if (event.type === 'problem') throw event.error
    if (event.type === type) return event as Extract<ClientEvent, { type: T }>
  }
}

const text = (m: Message) => new TextDecoder().decode(m.content!)

beforeAll(async () => {
  server = await Server.start()
})

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true })
})

test('a message goes to its receiver, and the ticks come back', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await Client.connect(options(alice))
  const b = await Client.connect(options(bob))
  const sent = await a.send(bob, 'hello')
  await sent.durable()
  const { message } = await next(b, 'message')
  expect([text(message), message.from, message.id, message.place]).toEqual(['hello', alice, sent.id, sent.place])
  b.handled()
  await sent.delivered()
  b.markRead(alice, message.place)
  await sent.read()
  const page = await b.history(alice)
  expect(page.messages.map(text)).toEqual(['hello'])
  await Promise.all([a.close(), b.close()])
})

test('who was away gets everything, in order', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await Client.connect(options(alice))
  for (let i = 0; i < 200; i++) await a.send(bob, String(i))
  await a.outbox.at(-1)?.durable()
  const b = await Client.connect(options(bob))
  for (let i = 0; i < 200; i++) expect(text((await next(b, 'message')).message)).toBe(String(i))
  await Promise.all([a.close(), b.close()])
})

test('a killed server loses and doubles nothing', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await Client.connect(options(alice))
  const b = await Client.connect(options(bob))
  const total = 300
  const sending = (async () => {
    for (let i = 0; i < total; i++) {
      const sent = await a.send(bob, String(i))
      if (i % 10 === 0) await sent.durable()
    }
  })()
  const got: string[] = []
  while (got.length < total) {
    got.push(text((await next(b, 'message')).message))
    if (got.length === 100) {
      const { address } = server
      await server.kill()
      server = await Server.start(address)
    }
  }
  await sending
  expect(got).toEqual(Array.from({ length: total }, (_, i) => String(i)))
  await Promise.all([a.close(), b.close()])
})

test('an outbox in a file goes out with the next run', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const path = join(dir, `${alice}.journal`)
  const first = await Client.connect(options(alice, { journal: new FileJournal(path) }))
  await first.close()
  // Nobody is there: the message waits in the file.
  const away = await Client.open(options(alice, { journal: new FileJournal(path), url: 'ws://127.0.0.1:1' }))
  const { id } = await away.send(bob, 'kept')
  await away.close()
  const b = await Client.connect(options(bob))
  const again = await Client.connect(options(alice, { journal: new FileJournal(path) }))
  const { message } = await next(b, 'message')
  expect([text(message), message.id]).toEqual(['kept', id])
  await Promise.all([again.close(), b.close()])
})
