import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import WebSocket from 'ws'

import { Client, type ClientOptions, type EncryptedEvent, type EncryptedOptions, type Message } from '../src/index.ts'
import { FileJournal } from '../src/node/index.ts'

/** A file of the repository. */
const fileOf = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

export const rookery = resolve(process.env.ROOKERY_BIN || fileOf('bin/rookery'))
/** In which programs of it run: the server refuses settings that it does not know. */
export const env = { ...process.env, ROOKERY_BIN: undefined }
export const dir = mkdtempSync(join(tmpdir(), 'rookery-js-'))
export const data = join(dir, 'data')

/** Where a server is. */
export interface At {
  /** For sockets. */
  readonly url: string
  /** Its web listener. */
  readonly web: string
}

/** A server of its own for these tests, on the embedded defaults. */
export class Server implements At {
  private constructor(
    readonly url: string,
    readonly web: string,
    private readonly args: string[],
    private readonly child: ChildProcess,
  ) {}

  /** Starts it with arguments more than its addresses; by default pages of whatever origin may connect. */
  static async start(args = ['--auth-origins=*'], listen = '127.0.0.1:0', web = '127.0.0.1:0'): Promise<Server> {
    if (!existsSync(rookery)) throw new Error(`there is no ${rookery}: run make build`)
    const all = ['serve', `--listen=${listen}`, '--admin=127.0.0.1:0', `--web=${web}`, `--data=${data}`, '--log-level=error', ...args]
    const child = spawn(rookery, all, { stdio: ['ignore', 'pipe', 'inherit'], env })
    const at: Record<string, string> = {}
    for await (const line of createInterface({ input: child.stdout! })) {
      const [name, url] = line.split(/\s+/)
      if (url) at[name!] = url
      if (name === 'ready') return new Server(at['sockets']!.replace('/ws/<user>', ''), at['web']!, args, child)
    }
    throw new Error('the server did not start')
  }

  /** Ends it as a power cut does. */
  async kill(): Promise<void> {
    const gone = new Promise((done) => this.child.once('exit', done))
    this.child.kill('SIGKILL')
    await gone
  }

  /** Starts it again where it was. */
  again(): Promise<Server> {
    return Server.start(this.args, new URL(this.url).host, new URL(this.web).host)
  }
}

/** A token by the server's development key. */
export function token(user: string): string {
  const out = execFileSync('node', [fileOf('test/foreign/js/tokens.js'), join(data, 'dev-key.json'), user], { encoding: 'utf8' })
  return JSON.parse(out)[user]
}

export function options(server: At, user: string, more: Partial<ClientOptions> = {}): ClientOptions {
  return { url: server.url, user, device: 'node', token: () => token(user), WebSocket, backoffMinMs: 50, backoffMaxMs: 500, ...more }
}

/** An encrypted device in files: what it was is there again when it is opened again. */
export async function openDevice(server: Server, user: string, name: string, more: Partial<EncryptedOptions> = {}): Promise<Client> {
  const path = join(dir, `${user}.${name}`)
  const c = await Client.connect({
    ...options(server, user),
    device: name,
    journal: new FileJournal(`${path}.journal`),
    keyFile: `${path}.keys`,
    identityFile: join(dir, `${user}.identity`),
    refreshMs: 0.001,
    ...more,
  })
  await c.published()
  return c
}

/** A name that no other test uses. */
export const fresh = (name: string) => `${name}-${randomUUID().slice(0, 8)}`

export async function next<T extends EncryptedEvent['type']>(c: { receive(): Promise<EncryptedEvent> }, type: T): Promise<Extract<EncryptedEvent, { type: T }>> {
  for (;;) {
    const event = await c.receive()
    if (event.type === 'problem') throw event.error
    if (event.type === type) return event as Extract<EncryptedEvent, { type: T }>
  }
}

export const text = (m: Message) => new TextDecoder().decode(m.content!)

/** For which devices of its receiver, and with `all` of its sender, a key share is (docs/encryption.md, Envelopes). */
export function readersOf(share: Uint8Array, all = false): string[] {
  const view = new DataView(share.buffer, share.byteOffset, share.length)
  let at = 1
  const name = () => {
    const from = at + 1
    at = from + share[at]!
    return new TextDecoder().decode(share.subarray(from, at))
  }
  name() // the sender's device
  at += 16 // the session
  const parts = view.getUint16(at)
  at += 2
  const names: string[] = []
  for (let i = 0; i < parts; i++) {
    const own = share[at++]
    const reader = name()
    at += 3 + view.getUint16(at + 1)
    if (!own || all) names.push(reader)
  }
  return names
}
