import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { text as streamText } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { bodyOf, Client, decryptAttachment, encryptAttachment, type EncryptedEvent, type EncryptedOptions, MemoryJournal, parseChange, PlainClient, saidOf } from '../src/index.ts'
import { bytesOfHex, hexOf } from '../src/id.ts'
import { FileJournal } from '../src/node/index.ts'
import { data, dir, fresh, next, openDevice, options, readersOf, rookery, Server, text } from './world.ts'

let server: Server

beforeAll(async () => {
  server = await Server.start()
})

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true })
})

const device = (user: string, name: string, more: Partial<EncryptedOptions> = {}) => openDevice(server, user, name, more)

/** A command of the Go SDK that acts as a user. */
function go(command: string, user: string, ...args: string[]): ChildProcess {
  const env = { ...process.env, ROOKERY_BIN: undefined }
  const all = [command, ...args, `--url=${server.url}`, `--data=${data}`, `--as=${user}`]
  return spawn(rookery, all, { stdio: ['pipe', 'pipe', 'inherit'], env })
}

/** The command has started when the server has its keys. */
async function whenThereAreKeys<T>(send: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await send()
    } catch (err) {
      if ((err as { reason?: string }).reason !== 'no_keys') throw err
      await new Promise((done) => setTimeout(done, 200)) // the server bounds how often one may ask
    }
  }
}

const gone = (child: ChildProcess) => new Promise((done) => child.once('exit', done))

test('Node to Node: both ways, history, safety numbers, a device of files again', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await device(alice, 'node')
  let b = await device(bob, 'node')
  const sent = await a.send(bob, 'hello')
  await sent.durable()
  const { message } = await next(b, 'message')
  expect([text(message), message.from, message.id, message.suite, message.place]).toEqual(['hello', alice, sent.id, 1, sent.place])
  await b.send(alice, 'hi')
  expect(text((await next(a, 'message')).message)).toBe('hi')
  expect((await a.history(bob)).messages.map(text)).toEqual(['hi', 'hello'])
  expect((await b.chats()).chats.map((each) => text(each.last))).toEqual(['hi'])
  const safety = await a.safety(bob)
  expect(safety).toEqual(await b.safety(alice))
  expect([safety.digits.length, safety.scan.length, safety.qr.length, safety.verified]).toEqual([71, 68, 124, false])
  await a.verify(bob, true)
  expect((await a.safety(bob)).verified).toBe(true)
  b.handled()
  await b.close()
  await (await a.send(bob, 'while you were away')).durable()
  b = await device(bob, 'node')
  expect(text((await next(b, 'message')).message)).toBe('while you were away')
  expect((await b.history(alice)).messages.map(text)).toEqual(['while you were away', 'hi', 'hello'])
  await Promise.all([a.close(), b.close()])
})

test('Go and Node read each other', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const node = await device(alice, 'node')
  const tail = go('tail', bob, '--json', '--count=1')
  const printed = streamText(tail.stdout!)
  const sent = await whenThereAreKeys(() => node.send(bob, 'from Node'))
  await sent.delivered()
  expect(await printed).toContain('from Node')
  const send = go('send', bob, `--to=${alice}`, '--wait=durable', 'from Go')
  const ended = gone(send)
  expect(text((await next(node, 'message')).message)).toBe('from Go')
  await ended
  await node.close()
})

test('the server and who listens see ciphertext', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await device(alice, 'node')
  const b = await device(bob, 'node')
  await (await a.send(bob, 'a secret of theirs')).durable()
  await next(b, 'message')
  await b.close()
  const spy = await PlainClient.connect({ ...options(server, bob), device: 'spy', from: 'start', journal: new MemoryJournal() })
  const seen = await spy.history(alice)
  expect(seen.messages.map((m) => m.suite).sort()).toEqual([1, 2])
  for (const m of seen.messages) expect(text(m)).not.toContain('secret')
  await Promise.all([a.close(), spy.close()])
})

test('what is plain, tampered with, replayed or moved fails', async () => {
  const [alice, bob, carol] = [fresh('alice'), fresh('bob'), fresh('carol')]
  const a = await device(alice, 'node')
  const b = await device(bob, 'node')
  await (await a.send(bob, 'one')).durable()
  await next(b, 'message')
  const raw = await PlainClient.connect({ ...options(server, alice), device: 'raw', sendOnly: true })
  const [first] = (await raw.history(bob)).messages.filter((m) => m.suite === 1)
  const failsWith = async (to: string, content: Uint8Array, suite: number, at: Client) => {
    await raw.send(to, content, { suite })
    return ((await next(at, 'failed')).error as { reason?: string }).reason
  }
  expect(await failsWith(bob, new TextEncoder().encode('plain'), 0, b)).toBe('plain')
  expect(await failsWith(bob, first!.content!, 1, b)).toBe('replayed')
  const tampered = first!.content!.slice()
  tampered[tampered.length - 70]! ^= 1
  expect(await failsWith(bob, tampered, 1, b)).toBe('forged')
  const c = await device(carol, 'node')
  await (await raw.send(carol, first!.content!, { suite: 1 })).durable() // its key is not there, and does not come
  expect((await c.history(alice)).messages.map((m) => m.content)).toEqual([null])
  await Promise.all([a.close(), b.close(), c.close(), raw.close()])
})

test('a device added reads what follows, one removed is out', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await device(alice, 'node')
  const phone = await device(bob, 'phone')
  await (await a.send(bob, 'one')).durable()
  const tablet = await device(bob, 'tablet')
  await (await a.send(bob, 'two')).durable()
  expect(text((await next(tablet, 'message')).message)).toBe('two')
  expect(text((await next(phone, 'message')).message)).toBe('one')
  expect(text((await next(phone, 'message')).message)).toBe('two')
  await phone.labelDevice('phone', "Bob's phone")
  await phone.removeDevice('tablet')
  const ended = async () => {
    for (;;) await tablet.receive()
  }
  await expect(ended()).rejects.toMatchObject({ codeName: 'revoked' })
  expect((await phone.devices()).map((d) => [d.device, d.label, d.created > 0, d.revoked > 0])).toEqual([
    ['phone', "Bob's phone", true, false],
    ['tablet', '', true, true],
  ])
  await expect(phone.revokeDevice('none')).rejects.toMatchObject({ codeName: 'not_found' })
  await (await a.send(bob, 'three')).durable()
  expect(text((await next(phone, 'message')).message)).toBe('three')
  await tablet.close()
  await expect(device(bob, 'tablet')).rejects.toMatchObject({ codeName: 'revoked' })
  await Promise.all([a.close(), phone.close()])
})

test('who wrote to a device that is removed is told, however long they would go by what they know', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const hourly = { refreshMs: 3_600_000 }
  const a = await device(alice, 'node', hourly)
  const [phone, tablet, stolen] = [await device(bob, 'phone', hourly), await device(bob, 'tablet', hourly), await device(bob, 'stolen', hourly)]
  await (await a.send(bob, 'one')).durable()
  for (const c of [phone, tablet, stolen]) expect(text((await next(c, 'message')).message)).toBe('one')
  await (await tablet.send(alice, 'an answer')).durable()
  expect(text((await next(a, 'message')).message)).toBe('an answer')
  await phone.revokeDevice('stolen')
  for (const to of [alice, bob]) await (await phone.send(to, 'it is gone')).durable()
  expect(text((await next(a, 'message')).message)).toBe('it is gone')
  expect(text((await next(tablet, 'message')).message)).toBe('it is gone')
  await (await a.send(bob, 'two')).durable()
  await (await tablet.send(alice, 'three')).durable()
  expect(text((await next(phone, 'message')).message)).toBe('it is gone') // to oneself
  expect(text((await next(phone, 'message')).message)).toBe('two')
  const spy = await PlainClient.connect({ ...options(server, bob), device: 'spy', journal: new MemoryJournal(), sendOnly: true })
  const newest = async (from: string) => {
    const { messages } = await spy.history(alice)
    const shares = messages.filter((m) => m.suite === 2 && m.from === from).map((m) => readersOf(m.content!, true))
    return shares.filter((names) => names.length > 0)[0]!.sort() // of no device: that one is gone
  }
  expect(await newest(alice)).toEqual(['phone', 'tablet'])
  expect(await newest(bob)).toEqual(['node', 'phone'])
  await stolen.close().catch(() => {})
  await Promise.all([a, phone, tablet, spy].map((each) => each.close()))
})

test('a new device is linked by a code of an old one', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const phone = await device(alice, 'phone')
  const b = await device(bob, 'node')
  await (await b.send(alice, 'before the laptop')).durable()
  expect(text((await next(phone, 'message')).message)).toBe('before the laptop')
  await (await phone.send(bob, 'an answer')).durable()
  expect(text((await next(b, 'message')).message)).toBe('an answer')
  await (await phone.sendBody(bob, bodyOf('timer', { seconds: 3600 }))).durable()
  await next(b, 'typed')
  const path = join(dir, `${alice}.laptop`)
  const laptop = await Client.connect({
    ...options(server, alice),
    device: 'laptop',
    journal: new FileJournal(`${path}.journal`),
    keyFile: `${path}.keys`,
    refreshMs: 0.001,
  })
  await expect(laptop.published()).rejects.toMatchObject({ codeName: 'other_identity' })
  phone.withdrawLink() // there is none yet
  const code = await phone.offerLink()
  const stop = new AbortController()
  const phoneTold: string[] = []
  const giving = (async () => {
    for (;;) {
      const e: EncryptedEvent = await phone.receive(stop.signal)
      if (e.type === 'link_used') phoneTold.push(`${e.device} ${e.error}`)
    }
  })().catch(() => undefined)
  const history: unknown[] = []
  const taken = new AbortController()
  const taking = (async () => {
    for (;;) {
      const e: EncryptedEvent = await laptop.receive(taken.signal)
      if (e.type !== 'linked_history') continue
      history.push(e)
      taken.abort()
    }
  })().catch(() => undefined)
  await expect(laptop.join('no code')).rejects.toMatchObject({ reason: 'link_code' })
  await laptop.join(code)
  await taking
  stop.abort()
  await giving
  expect(phoneTold).toEqual(['laptop null'])
  expect(history).toEqual([{ type: 'linked_history', device: 'phone', given: false, sessions: 2, error: null }])
  expect(laptop.timer(bob)).toBe(3600) // before it has read anything
  expect((await laptop.history(bob)).messages.map((m) => m.content && text(m))).toEqual([null, 'an answer', 'before the laptop'])
  await expect(laptop.join(code)).rejects.toMatchObject({ reason: 'linked' })
  await (await b.send(alice, 'to both')).durable()
  for (const c of [phone, laptop]) expect(text((await next(c, 'message')).message)).toBe('to both')
  await (await laptop.send(bob, 'from the laptop')).durable()
  expect(text((await next(b, 'message')).message)).toBe('from the laptop')
  expect(text((await next(phone, 'copy')).message)).toBe('from the laptop')
  await (await laptop.sendBody(bob, bodyOf('text', { text: 'soon gone' }))).durable()
  const soon = await next(b, 'typed')
  expect([soon.message.expires > 0, saidOf(soon)?.body.seconds]).toEqual([true, 3600])
  await Promise.all([phone.close(), b.close(), laptop.close()])
})

test('another identity stops sending until it is accepted', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await device(alice, 'node')
  const b = await device(bob, 'node')
  await (await a.send(bob, 'one')).durable()
  const before = await a.safety(bob)
  await b.close()
  const anew = await device(bob, 'anew', { identityFile: join(dir, `${bob}.other`), resetIdentity: true })
  await expect(a.send(bob, 'two')).rejects.toMatchObject({ reason: 'changed' })
  expect(await next(a, 'identity_changed')).toMatchObject({ user: bob, accepted: false })
  await a.accept(bob)
  expect((await a.safety(bob)).digits).not.toBe(before.digits)
  await (await a.send(bob, 'three')).durable()
  expect(text((await next(anew, 'message')).message)).toBe('three')
  await Promise.all([a.close(), anew.close()])
})

test('a group: its name and messages are for its members, from their joining to their leaving', async () => {
  const [alice, bob, carol, dave] = [fresh('alice'), fresh('bob'), fresh('carol'), fresh('dave')]
  const [a, b, c] = await Promise.all([device(alice, 'node'), device(bob, 'node'), device(carol, 'node')])
  const never = fresh('never')
  const { group } = await a.createGroup(new TextEncoder().encode('a cliff'), [bob, carol, never])
  for (const who of [b, c]) {
    expect(parseChange((await next(who, 'group_message')).message.content!)).toMatchObject({ verb: 'create', users: [bob, carol, never] })
    expect((await next(who, 'group_named')).info).toEqual({ name: 'a cliff', picture: null })
    expect(who.groupInfo(group)?.name).toBe('a cliff')
  }
  // Who has no keys is left out, and that is told.
  expect(await next(a, 'left_out')).toEqual({ type: 'left_out', group, users: [never] })
  expect((await a.groupMembers(group)).filter((m) => !m.keys)).toEqual([{ user: never, admin: false, keys: false }])

  const first = await a.send(group, 'before dave')
  for (const who of [b, c]) expect(text((await next(who, 'group_message')).message)).toBe('before dave')
  await b.sendBody(group, bodyOf('reaction', { text: '👍', target: first.id }))
  expect(await next(a, 'typed')).toMatchObject({ kind: 3, copy: false, message: { from: bob, to: group } })
  const d = await device(dave, 'node')
  const sees = async (who: Client, verb: string) => {
    for (;;) {
      const { message } = await next(who, 'group_message')
      if (message.suite === 3 && parseChange(message.content!).verb === verb) return
    }
  }
  await a.changeGroup(group, 'add', [dave])
  await sees(b, 'add') // until the list has it, nothing is for dave
  await (await b.send(group, 'with dave')).durable()
  const heard = async (who: Client) => {
    for (;;) {
      const { message } = await next(who, 'group_message')
      if (message.suite === 1) return text(message)
    }
  }
  expect(await heard(d)).toBe('with dave')
  expect(d.groupInfo(group)?.name).toBe('a cliff')
  expect(await heard(c)).toBe('with dave')
  await a.changeGroup(group, 'remove', [carol])
  await (await a.send(group, 'without carol')).durable()
  expect(await heard(d)).toBe('without carol')
  await sees(c, 'remove')
  await expect(c.send(group, 'let me in')).rejects.toMatchObject({ reason: 'not_member' })
  // History: what each was to read, and the changes, which the server reads too.
  const page = await d.saidBefore(group)
  expect(page.messages.map(text)).toEqual(['without carol', 'with dave'])
  expect(page.bodies.map((body) => body.text)).toEqual(['without carol', 'with dave'])
  expect(page.changes.map((m) => parseChange(m.content!).verb)).toEqual(['remove', 'add'])
  expect((await d.history(group)).messages.map((m) => m.suite).sort()).toEqual([1, 1, 1, 3, 3])
  const soon = { timeout: 30_000 } // durable, and stored a moment later
  await expect.poll(async () => (await c.saidBefore(group)).messages.map(text), soon).not.toContain('without carol')
  const spy = await PlainClient.connect({ ...options(server, bob), device: 'spy', sendOnly: true })
  for (const m of (await spy.history(group)).messages) {
    if (m.suite !== 3) expect(text(m)).not.toMatch(/dave|carol|cliff/)
  }
  // A picture goes to all, and stays with another name until it is taken away.
  const named = async (name: string, picture: Uint8Array | null) => {
    for (const who of [b, d]) {
      for (;;) {
        const { info } = await next(who, 'group_named')
        if (info.name !== name || (info.picture === null) !== (picture === null)) continue
        expect([info, who.groupInfo(group)]).toEqual([{ name, picture }, { name, picture }])
        break
      }
    }
  }
  const picture = new Uint8Array([1, 2, 3])
  await a.setGroupPicture(group, picture)
  await named('a cliff', picture)
  await a.setGroupInfo(group, new TextEncoder().encode('the cliff'))
  await named('the cliff', picture)
  await a.setGroupPicture(group, null)
  await named('the cliff', null)
  await Promise.all([a, b, c, d, spy].map((each) => each.close()))
})

test('nobody without keys is written to, a wrong passphrase opens nothing', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const a = await device(alice, 'node')
  await expect(a.send(bob, 'hello')).rejects.toMatchObject({ reason: 'no_keys' })
  await a.close()
  await expect(device(alice, 'other', { passphrase: 'wrong', identityFile: join(dir, `${alice}.identity`), keyFile: join(dir, 'sealed.keys') }).then(async (c) => {
    await c.close()
    await c.close() // it is closed
    await device(alice, 'other', { passphrase: 'another', keyFile: join(dir, 'sealed.keys') })
  })).rejects.toMatchObject({ reason: 'passphrase' })
})

test('an attachment', async () => {
  const file = crypto.getRandomValues(new Uint8Array(50_000))
  const { file: sealed, attachment } = await encryptAttachment(file)
  expect(sealed.length).toBeGreaterThan(file.length)
  expect(await decryptAttachment(sealed, attachment)).toEqual(file)
  sealed[20_000]! ^= 1
  await expect(decryptAttachment(sealed, attachment)).rejects.toMatchObject({ reason: 'attachment' })
})

describe('docs/vectors/encryption.json, attachments', () => {
  const { attachments } = JSON.parse(readFileSync(new URL('../../../docs/vectors/encryption.json', import.meta.url), 'utf8'))
  for (const v of attachments)
    test(v.name, async () => {
      const read = decryptAttachment(bytesOfHex(v.sealed), { key: v.key, digest: bytesOfHex(v.digest), size: v.size })
      if (v.file) expect(hexOf(await read)).toBe(v.file)
      else await expect(read).rejects.toMatchObject({ reason: 'attachment' })
    })
})
