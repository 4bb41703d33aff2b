// Somebody with a device in Go (the command line), in Node or in a page of Chromium: what a test has them do, and what they hear.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text as streamText } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterAll, beforeAll } from 'vitest'

import { Client, MemoryJournal, parseChange } from '../src/index.ts'
import { changeLine, Lines } from './lines.ts'
import { Browser } from './tab.ts'
import { data, dir, fresh, options, rookery, Server } from './world.ts'

export interface Peer {
  readonly user: string
  /** The next n lines of what comes: see lineOf. */
  hear(n: number): Promise<string[]>
  /** Why nothing more comes. */
  ended(): Promise<string>
  send(to: string, text: string): Promise<unknown>
  makeGroup(name: string, users: string[]): Promise<string>
  changeGroup(group: string, verb: 'add' | 'remove', users: string[]): Promise<unknown>
  offerLink(): Promise<string>
  revoke(device: string): Promise<unknown>
  close(): Promise<unknown>
}

/** Where peers are. */
export interface World {
  server: Server
  browser: Browser
}

/** The world of a file's tests, which begins before the first and ends after the last. */
export function startWorld(): World {
  const world = {} as World
  beforeAll(async () => {
    world.server = await Server.start()
    world.browser = await Browser.start()
  })
  afterAll(async () => {
    await world.browser?.close()
    await world.server?.kill()
    rmSync(dir, { recursive: true })
  })
  return world
}

/** Opens a user's first device, whose keys others find then; or, by the code that another device shows, a further one. */
export type Kind = (world: World, user: string, device?: string, code?: string) => Promise<Peer>

const bytes = (s: string) => new TextEncoder().encode(s)
const refreshMs = 0.001 // who reads is looked up for each message

function open({ server }: World, user: string, device: string): Promise<Client> {
  return Client.open({ ...options(server, user), device, journal: new MemoryJournal(), keyFile: join(dir, `${user}.${device}.keys`), refreshMs })
}

const inNode: Kind = async (world, user, device = 'node', code) => {
  const c = await open(world, user, device)
  const lines = new Lines(c)
  await (code ? c.join(code) : c.published())
  return {
    user,
    hear: (n) => lines.next(n),
    ended: () => lines.end(),
    send: async (to, content) => (await c.send(to, content)).durable(),
    makeGroup: async (name, users) => (await c.createGroup(bytes(name), users)).group,
    changeGroup: (group, verb, users) => c.changeGroup(group, verb, users),
    offerLink: () => c.offerLink(),
    revoke: (device) => c.removeDevice(device),
    close: () => c.close(),
  }
}

const inPage: Kind = async ({ server, browser }, user, device = 'page', code) => {
  const tab = await browser.open(server, user, { forgets: true, device })
  await tab.call('listen')
  await (code ? tab.call('join', code) : tab.call('published'))
  return {
    user,
    hear: (n) => tab.call('hear', n),
    ended: () => tab.call('ended'),
    send: (to, content) => tab.call('send', to, content, true),
    makeGroup: (name, users) => tab.call('makeGroup', name, users),
    changeGroup: (group, verb, users) => tab.call('changeGroup', group, verb, users),
    offerLink: () => tab.call('offerLink'),
    revoke: (device) => tab.call('revoke', device),
    close: () => tab.call('close').then(() => tab.page.close()),
  }
}

const env = { ...process.env, ROOKERY_BIN: undefined }
const run = promisify(execFile)

/** Of a record that `rookery tail --json` prints. */
interface Printed {
  type: string
  from: string
  to: string
  suite: number
  content?: string
  content_base64?: string
}

function lineOfPrinted(r: Printed): string | null {
  const group = r.to?.startsWith(':')
  if (r.type === 'copy') return group ? null : `copy: ${r.content}`
  if (r.type !== 'message') return null
  if (!group) return `${r.from} alone: ${r.content}`
  if (r.suite === 3) return changeLine(r.from, parseChange(Buffer.from(r.content_base64!, 'base64')))
  const named = /^<named the group (.*)>$/.exec(r.content!)
  return named ? `${r.from} named ${named[1]}` : `${r.from}: ${r.content}`
}

/**
 * The device that hears is `rookery tail`. A message is sent by a command of a device that is new each time, as one looks only
 * every five minutes who is to read.
 */
const inGo: Kind = async (world, user, device = 'ear', code) => {
  const { server } = world
  // A further device is of another machine. The commands of a machine share the user's identity.
  const common = [`--as=${user}`, `--url=${server.url}`, `--data=${data}`, ...(code ? [`--state=${join(dir, `${user}.${device}`)}`] : [])]
  const go = async (...args: string[]) => (await run(rookery, [...args, ...common], { env })).stdout.trim()
  if (code) await go('device', 'link', code, `--device=${device}`)
  const running: ChildProcess[] = []
  const start = (...args: string[]) => {
    const child = spawn(rookery, [...args, ...common], { stdio: ['ignore', 'pipe', 'pipe'], env })
    running.push(child)
    return child
  }
  const tail = start('tail', '--json', `--device=${device}`)
  const told = streamText(tail.stderr!)
  const printed = createInterface({ input: tail.stdout! })[Symbol.asyncIterator]()
  const sent = new Set<string>()
  const peer: Peer = {
    user,
    async hear(n) {
      const lines: string[] = []
      while (lines.length < n) {
        const { value, done } = await printed.next()
        if (done) throw new Error(`${device} of ${user} ended: ${await told}`)
        const record = JSON.parse(value) as Printed
        const line = lineOfPrinted(record)
        const mine = record.type === 'copy' ? sent.has(record.content!) : record.from === user // by a command
        if (line !== null && !mine) lines.push(line)
      }
      return lines
    },
    ended: async () => /revoked/.exec(await told)?.[0] ?? told,
    send: (to, content) => {
      sent.add(content)
      return go('send', '--wait=durable', `--device=mouth-${sent.size}`, `--to=${to}`, content)
    },
    makeGroup: (name, users) => go('group', 'create', `--name=${name}`, ...users),
    changeGroup: (group, verb, users) => go('group', verb === 'add' ? 'invite' : verb, group, ...users),
    async offerLink() {
      const { value } = await createInterface({ input: start('device', 'link').stdout! })[Symbol.asyncIterator]().next()
      return value as string
    },
    revoke: (device) => go('device', 'revoke', device),
    async close() {
      for (const child of running) child.kill()
    },
  }
  await knock(world, peer)
  return peer
}

/** Returns when a peer's device has keys: it has read what somebody wrote. */
async function knock(world: World, peer: Peer): Promise<void> {
  const somebody = fresh('bell')
  const c = await open(world, somebody, 'bell')
  await c.published()
  for (;;) {
    try {
      await (await c.send(peer.user, 'are you there?')).durable()
      break
    } catch (err) {
      if ((err as { reason?: string }).reason !== 'no_keys') throw err
      await new Promise((done) => setTimeout(done, 200)) // the server bounds how often one may ask
    }
  }
  await hears(peer, `${somebody} alone: are you there?`)
  await c.close()
}

/** Waits for a line, past others: a device begins where the user's others have said that they are, which may be before what they heard last. */
export async function hears(peer: Peer, line: string): Promise<void> {
  while ((await peer.hear(1))[0] !== line);
}

export const kinds: [string, Kind][] = [
  ['Go', inGo],
  ['Node', inNode],
  ['a page', inPage],
]
