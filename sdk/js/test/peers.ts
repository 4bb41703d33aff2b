// Somebody with a device in Go (the command line), in Node or in a page of Chromium: what a test has them do, and what they hear.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, beforeAll } from 'vitest'

import { Client, MemoryJournal, parseChange } from '../src/index.ts'
import { changeLine, Lines, linesOf } from './lines.ts'
import { Browser } from './tab.ts'
import { type At, data, dir, fresh, options, rookery, Server } from './world.ts'

export interface Peer {
  readonly user: string
  /** The next n lines of what comes: see lineOf. */
  hear(n: number): Promise<string[]>
  /** Why nothing more comes. */
  ended(): Promise<string>
  send(to: string, text: string): Promise<unknown>
  /** A device that goes on sending to a user or group, so its messages have one session. */
  speaker(to: string): Promise<(text: string) => unknown>
  /** Makes a group; one without a name gets no message that says it. */
  makeGroup(name: string, users: string[]): Promise<string>
  changeGroup(group: string, verb: 'add' | 'remove', users: string[]): Promise<unknown>
  offerLink(): Promise<string>
  revoke(device: string): Promise<unknown>
  /** Accepts the identity that a user has now. */
  accept(user: string): Promise<unknown>
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
export type Kind = (world: { server: At; browser: Browser }, user: string, device?: string, code?: string) => Promise<Peer>

const bytes = (s: string) => new TextEncoder().encode(s)
const refreshMs = 0.001 // who reads is looked up for each message

function open({ server }: { server: At }, user: string, device: string): Promise<Client> {
  return Client.open({ ...options(server, user), device, journal: new MemoryJournal(), keyFile: join(dir, `${user}.${device}.keys`), refreshMs })
}

const inNode: Kind = async (world, user, device = 'node', code) => {
  const c = await open(world, user, device)
  const lines = linesOf(c)
  await (code ? c.join(code) : c.published())
  return {
    user,
    hear: (n) => lines.next(n),
    ended: () => lines.end(),
    send: async (to, content) => (await c.send(to, content)).durable(),
    speaker: async (to) => (content) => c.send(to, content),
    makeGroup: async (name, users) => (await c.createGroup(name ? bytes(name) : null, users)).group,
    changeGroup: (group, verb, users) => c.changeGroup(group, verb, users),
    offerLink: () => c.offerLink(),
    revoke: (device) => c.removeDevice(device),
    accept: (user) => c.accept(user),
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
    speaker: async (to) => (content) => tab.call('send', to, content, false),
    makeGroup: (name, users) => tab.call('makeGroup', name, users),
    changeGroup: (group, verb, users) => tab.call('changeGroup', group, verb, users),
    offerLink: () => tab.call('offerLink'),
    revoke: (device) => tab.call('revoke', device),
    accept: (user) => tab.call('accept', user),
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
  if (r.suite === 0) return `${r.from}${group ? '' : ' alone'}: (not encrypted) ${r.content}`
  if (!group) return `${r.from} alone: ${r.content}`
  if (r.suite === 3) return changeLine(r.from, parseChange(Buffer.from(r.content_base64!, 'base64')))
  const named = /^<named the group (.*)>$/.exec(r.content!)
  return named ? `${r.from} named ${named[1]}` : `${r.from}: ${r.content}`
}

const faults: [string, RegExp][] = [
  ['replayed', /: a message that came again/],
  ['forged', /: a message that its sender did not write so/],
]

/** Of a line that it tells the user aside. */
function lineOfFault(line: string): string | null {
  const fault = faults.find(([, says]) => says.test(line))
  return fault ? `failed: ${fault[0]}` : null
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
    const child = spawn(rookery, [...args, ...common], { stdio: 'pipe', env })
    running.push(child)
    return child
  }
  const tail = start('tail', '--json', `--device=${device}`)
  const sent = new Set<string>()
  let mouths = 0
  const lines = new Lines()
  let told = ''
  createInterface({ input: tail.stdout! }).on('line', (printed) => {
    const record = JSON.parse(printed) as Printed
    const mine = record.type === 'copy' ? sent.has(record.content!) : record.from === user // by a command
    if (!mine) lines.push(lineOfPrinted(record))
  })
  createInterface({ input: tail.stderr! }).on('line', (line) => {
    told += `${line}\n`
    lines.push(lineOfFault(line))
  })
  tail.on('close', () => lines.close(new Error(`${device} of ${user} ended: ${told}`)))
  const peer: Peer = {
    user,
    hear: (n) => lines.next(n),
    ended: async () => /revoked|$/.exec(await lines.end())![0] || told,
    send: (to, content) => {
      sent.add(content)
      return go('send', '--wait=durable', `--device=mouth-${++mouths}`, `--to=${to}`, content)
    },
    async speaker(to) {
      const chat = start('chat', '--json', `--device=mouth-${++mouths}`, `--with=${to}`)
      return (content) => {
        sent.add(content)
        chat.stdin!.write(`${content}\n`)
      }
    },
    makeGroup: (name, users) => go('group', 'create', `--name=${name}`, ...users),
    changeGroup: (group, verb, users) => go('group', verb === 'add' ? 'invite' : verb, group, ...users),
    async offerLink() {
      const { value } = await createInterface({ input: start('device', 'link').stdout! })[Symbol.asyncIterator]().next()
      return value as string
    },
    revoke: (device) => go('device', 'revoke', device),
    accept: (user) => go('safety', '--accept', user),
    async close() {
      for (const child of running) child.kill()
    },
  }
  await knock(world, peer)
  return peer
}

/** Returns when a peer's device has keys: it has read what somebody wrote. */
async function knock(world: { server: At }, peer: Peer): Promise<void> {
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
