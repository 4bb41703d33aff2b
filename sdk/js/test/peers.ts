// Somebody with a device in Go (the command line), in Node or in a page of Chromium: what a test has them do, and what they hear.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

import { Client, type EncryptedOptions, Media, parseChange, sendFile } from '../src/index.ts'
import { FileJournal } from '../src/node/index.ts'
import { bytesOfFile, changeLine, fileLine, Lines, linesOf } from './lines.ts'
import type { Browser, Tab } from './tab.ts'
import { type At, data, dir, env, fresh, options, rookery, token } from './world.ts'

export interface Peer {
  readonly user: string
  /** The next n lines of what comes: see lineOf. */
  hear(n: number): Promise<string[]>
  /** Why nothing more comes. */
  ended(): Promise<string>
  send(to: string, text: string): Promise<unknown>
  /** Sends the file of a name (bytesOfFile). */
  sendFile(to: string, name: string): Promise<unknown>
  /** A device that goes on writing to a user or group, so its messages have one session, and hears what they write; the same for the same. */
  talk(to: string): Promise<Talk>
  /** Makes a group; one without a name gets no message that says it. */
  makeGroup(name: string, users: string[]): Promise<string>
  changeGroup(group: string, verb: 'add' | 'remove', users: string[]): Promise<unknown>
  offerLink(): Promise<string>
  revoke(device: string): Promise<unknown>
  /** All that runs of this device ends, and keeps what it has. */
  leave(): Promise<unknown>
  /** It runs again; where that can be, by a clock that shows another time. */
  back(clock?: Date): Promise<unknown>
  close(): Promise<unknown>
}

/** A device that writes to somebody. */
export interface Talk {
  /** The next n lines of what comes on it. */
  hear(n: number): Promise<string[]>
  /** Returns when the server has it durably, and throws why it was not sent. */
  say(text: string): Promise<unknown>
  /** Returns when this device will send it, now or once there is a connection; of Go also for its commands, such as /react. */
  keep(text: string): Promise<unknown>
  /** Accepts the identity that the user has now. */
  accept(): Promise<unknown>
}

/** How a device is opened that is not its user's first. */
export interface How {
  device?: string
  /** That another device shows: it is linked by it. */
  code?: string
  /** It gives the user a new identity. */
  anew?: boolean
  /** After how many messages it replaces a session, where that can be said. */
  rotateMessages?: number
}

/** Opens a user's first device, whose keys others find then, or a further one. */
export type Kind = (world: { server: At; browser: Browser }, user: string, how?: How) => Promise<Peer>

const opened = new Set<Peer>()

/** Closes all that were opened: a test that fails leaves some, which would ask for a server that is gone. */
export async function closeAll(): Promise<void> {
  await Promise.allSettled([...opened].map((each) => each.close()))
  opened.clear()
}

const bytes = (s: string) => new TextEncoder().encode(s)
const refreshMs = 0.001 // who reads is looked up for each message

function open({ server }: { server: At }, user: string, device: string, more: Partial<EncryptedOptions> = {}): Promise<Client> {
  const path = join(dir, `${user}.${device}`)
  return Client.open({ ...options(server, user), device, journal: new FileJournal(`${path}.journal`), keyFile: `${path}.keys`, refreshMs, ...more })
}

const inNode: Kind = async (world, user, { device = 'node', code, anew = false, rotateMessages = 100 } = {}) => {
  const media = new Media(world.server.web, () => token(user))
  let c = await open(world, user, device, { resetIdentity: anew, rotateMessages })
  let lines = linesOf(c, media)
  await (code ? c.join(code) : c.published())
  const peer: Peer = {
    user,
    hear: (n) => lines.next(n),
    ended: () => lines.end(),
    send: async (to, content) => (await c.send(to, content)).durable(),
    sendFile: async (to, name) => (await sendFile(c, media, to, { bytes: bytesOfFile(name), name, type: '' })).durable(),
    talk: async (to) => ({ hear: peer.hear, say: (content) => peer.send(to, content), keep: (content) => c.send(to, content), accept: () => c.accept(to) }),
    makeGroup: async (name, users) => (await c.createGroup(name ? bytes(name) : null, users)).group,
    changeGroup: (group, verb, users) => c.changeGroup(group, verb, users),
    offerLink: () => c.offerLink(),
    revoke: (device) => c.removeDevice(device),
    leave: () => c.close(),
    async back() {
      c = await open(world, user, device, { rotateMessages })
      lines = linesOf(c, media)
    },
    close: () => c.close(),
  }
  opened.add(peer)
  return peer
}

const inPage: Kind = async ({ server, browser }, user, { device = 'page', code, anew = false, rotateMessages = 100 } = {}) => {
  let tab!: Tab
  const back = async (clock?: Date) => {
    tab = await browser.open(server, user, { device, resetIdentity: anew, rotateMessages }, clock)
    await tab.call('listen', server.web, token(user))
    anew = false
  }
  await back()
  await (code ? tab.call('join', code) : tab.call('published'))
  const peer: Peer = {
    user,
    hear: (n) => tab.call('hear', n),
    ended: () => tab.call('ended'),
    send: (to, content) => tab.call('send', to, content, true),
    sendFile: (to, name) => tab.call('sendFile', to, name),
    talk: async (to) => ({ hear: peer.hear, say: (content) => peer.send(to, content), keep: (content) => tab.call('send', to, content, false), accept: () => tab.call('accept', to) }),
    makeGroup: (name, users) => tab.call('makeGroup', name, users),
    changeGroup: (group, verb, users) => tab.call('changeGroup', group, verb, users),
    offerLink: () => tab.call('offerLink'),
    revoke: (device) => tab.call('revoke', device),
    leave: () => tab.call('close').then(() => tab.page.close()),
    back,
    close: () => peer.leave(),
  }
  opened.add(peer)
  return peer
}

const run = promisify(execFile)

/** Of a record that `rookery tail --json` and `rookery chat --json` print. */
interface Printed {
  type: string
  id: string
  from: string
  to: string
  suite: number
  content?: string
  content_base64?: string
  kind?: string
  seconds?: number
  status?: string
}

const saved = /\[file saved as (.*)\]$/

function lineOfPrinted(r: Printed): string | null {
  const group = r.to?.startsWith(':')
  if (r.type === 'copy') return group ? null : `copy: ${r.content}`
  if (r.type !== 'message') return null
  if (r.suite === 0) return `${r.from}${group ? '' : ' alone'}: (not encrypted) ${r.content}`
  const file = saved.exec(r.content ?? '')
  if (file) return fileLine(r.from, !group, basename(file[1]!), readFileSync(file[1]!))
  const kind = r.kind ? `(${[r.kind, r.seconds].filter((each) => each).join(' ')}) ` : ''
  if (!group) return `${r.from} alone: ${kind}${r.content}`
  if (r.suite === 3) return changeLine(r.from, parseChange(Buffer.from(r.content_base64!, 'base64')))
  const named = /^<named the group (.*)>$/.exec(r.content!)
  return named ? `${r.from} named ${named[1]}` : `${r.from}: ${kind}${r.content}`
}

const faults: [string, RegExp][] = [
  ['failed: replayed', /: a message that came again/],
  ['failed: forged', /: a message that its sender did not write so/],
  ['identity_changed', /: the identity of \S+ has changed/],
]

/** Of a line that it tells the user aside. */
function lineOfFault(line: string): string | null {
  return faults.find(([, says]) => says.test(line))?.[0] ?? null
}

/**
 * The device that hears is `rookery tail`; one that talks is `rookery chat`. A single message is sent by a command of a device that is
 * new each time, as one looks only every five minutes who is to read.
 */
export const inGo = async (world: { server: At }, user: string, { device = 'ear', code, anew }: How = {}): Promise<Peer> => {
  const { server } = world
  // A further device is of another machine. The commands of a machine share the user's identity.
  const machine = code || anew ? [`--state=${join(dir, `${user}.${device}`)}`] : []
  const common = [`--as=${user}`, `--url=${server.url}`, `--data=${data}`, ...machine]
  const go = async (...args: string[]) => (await run(rookery, [...args, ...common], { env })).stdout.trim()
  if (code) await go('device', 'link', code, `--device=${device}`)
  if (anew) await go('device', 'reset', `--device=${device}`)
  let running: ChildProcess[] = []
  const start = (...args: string[]) => {
    const child = spawn(rookery, [...args, ...common], { stdio: 'pipe', env })
    running.push(child)
    return child
  }
  const files = await mkdtemp(join(dir, 'files-'))
  const sent = new Set<string>()
  const lines = new Lines()
  let told = ''
  let away = false
  const listen = () => {
    const tail = start('tail', '--json', `--device=${device}`, `--save=${files}`, `--web=${server.web}`)
    createInterface({ input: tail.stdout! }).on('line', (printed) => {
      const record = JSON.parse(printed) as Printed
      const mine = record.type === 'copy' ? sent.has(record.content!) || saved.test(record.content!) : record.from === user // by a command
      if (!mine) lines.push(lineOfPrinted(record))
    })
    createInterface({ input: tail.stderr! }).on('line', (line) => {
      told += `${line}\n`
      lines.push(lineOfFault(line))
    })
    tail.on('close', () => away || lines.close(new Error(`${device} of ${user} ended: ${told}`)))
  }
  listen()
  const mouths: string[] = [] // whom devices of `rookery chat` talk with
  const talks = new Map<string, Talk>() // that run
  let once = 0
  const peer: Peer = {
    user,
    hear: (n) => lines.next(n),
    ended: async () => /revoked|$/.exec(await lines.end())![0] || told,
    send: (to, content) => {
      sent.add(content)
      return go('send', '--wait=durable', `--device=once-${++once}`, `--to=${to}`, content)
    },
    sendFile: (to, name) => {
      const path = join(files, `sent-${name}`, name)
      mkdirSync(dirname(path))
      writeFileSync(path, bytesOfFile(name))
      return go('send', '--wait=durable', `--device=once-${++once}`, `--to=${to}`, `--file=${path}`, `--web=${server.web}`)
    },
    async talk(to) {
      if (!mouths.includes(to)) mouths.push(to)
      const begin = () => start('chat', '--json', `--device=mouth-${mouths.indexOf(to) + 1}`, `--with=${to}`, `--web=${server.web}`)
      if (!talks.has(to)) talks.set(to, talkOf(begin(), user, (text) => sent.add(text)))
      return talks.get(to)!
    },
    makeGroup: (name, users) => go('group', 'create', `--name=${name}`, ...users),
    changeGroup: (group, verb, users) => go('group', verb === 'add' ? 'invite' : verb, group, ...users),
    async offerLink() {
      const { value } = await createInterface({ input: start('device', 'link').stdout! })[Symbol.asyncIterator]().next()
      return value as string
    },
    revoke: (device) => go('device', 'revoke', device),
    async leave() {
      away = true
      const gone = running.filter((child) => child.exitCode === null).map((child) => new Promise((done) => child.once('close', done)))
      for (const child of running) child.kill('SIGINT') // it says how far it was
      await Promise.all(gone)
      running = []
      talks.clear()
    },
    async back() {
      away = false
      listen()
    },
    async close() {
      for (const child of running) child.kill()
    },
  }
  opened.add(peer)
  await knock(world, peer)
  return peer
}

/** A running `rookery chat --json`. */
function talkOf(chat: ChildProcess, user: string, says: (text: string) => void): Talk {
  const [heard, outcomes] = [new Lines(), new Lines()]
  const followed = new Set<string>()
  createInterface({ input: chat.stdout! }).on('line', (printed) => {
    const record = JSON.parse(printed) as Printed
    if (record.type !== 'status') return record.from === user || heard.push(lineOfPrinted(record))
    if (followed.has(record.id)) return // how far it has come since
    followed.add(record.id)
    outcomes.push(record.status!)
  })
  createInterface({ input: chat.stderr! }).on('line', (line) => {
    heard.push(lineOfFault(line))
    if (/: (not sent|safety number with)/.test(line)) outcomes.push(line)
  })
  const tell = async (line: string) => {
    chat.stdin!.write(`${line}\n`)
    const [outcome] = await outcomes.next(1)
    if (/^failed|: not sent/.test(outcome!)) throw new Error(outcome)
  }
  const say = (text: string) => {
    says(text)
    return tell(text)
  }
  return {
    hear: (n) => heard.next(n),
    say,
    async keep(text) {
      says(text)
      for (const line of [text, '/edit']) chat.stdin!.write(`${line}\n`)
      while (!/\/edit TEXT/.test((await outcomes.next(1))[0]!)); // it is not done, but after the text
    },
    accept: () => tell('/accept'),
  }
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
export async function hears(peer: Pick<Peer, 'hear'>, line: string): Promise<void> {
  while ((await peer.hear(1))[0] !== line);
}

export const kinds: [string, Kind][] = [
  ['Go', inGo],
  ['Node', inNode],
  ['a page', inPage],
]
