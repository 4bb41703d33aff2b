import { execFileSync, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Locator } from 'playwright-core'
import { expect, test } from 'vitest'

import { data, dir, fresh, looks, png, rookery, setUp, Somebody } from './world.ts'

const world = setUp()

/** Alice in one browser, Bob and Carol in another, in a group that she made. */
async function three(name = 'Cliff', names = ['alice', 'bob', 'carol']): Promise<[Somebody, Somebody, Somebody]> {
  const { one, two, server } = world
  const [a, b, c] = names.map(fresh) as [string, string, string]
  const [alice, bob, carol] = await Promise.all([Somebody.enter(one, server, a), Somebody.enter(two, server, b), Somebody.enter(two, server, c)])
  await alice.makeGroup(name, b, c)
  await alice.say('hello all')
  for (const who of [bob, carol]) await who.choose(name)
  await bob.message('hello all').waitFor()
  return [alice, bob, carol]
}

test('a group: messages with their senders, ticks of all, lines for what changes', async () => {
  const [alice, bob, carol] = await three()
  await alice.tick('hello all', 'delivered to all, read by all')
  expect(await alice.lines()).toEqual([`You made the group \u201cCliff\u201d with ${bob.name} and ${carol.name}`])
  await bob.line(`${alice.name} made the group with you and ${carol.name}`)
  await bob.line(`${alice.name} named the group \u201cCliff\u201d`)
  await bob.say('from bob')
  await alice.message('from bob').locator('.from').getByText(bob.name).waitFor()
  await carol.message('from bob').waitFor()
  // Who is in another chat has it delivered, and unread.
  await carol.chatWith(fresh('nobody'))
  await alice.say('who reads this?')
  await carol.page.getByRole('button', { name: 'Cliff' }).getByText('1 unread').waitFor()
  await alice.tick('who reads this?', 'delivered to all, read by 1 of 2')
  await alice.message('who reads this?').getByText('read by 1').waitFor()
  await carol.choose('Cliff')
  await alice.tick('who reads this?', 'delivered to all, read by all')
  // Who is away has not.
  await carol.page.close()
  await alice.say('is carol there?')
  await alice.tick('is carol there?', 'delivered to 1 of 2, read by 1 of 2')
  await alice.page.reload()
  await alice.message('is carol there?').waitFor()
  expect(await alice.texts()).toEqual(['hello all', 'from bob', 'who reads this?', 'is carol there?'])
})

test('invite, make admin, rename, remove, leave: everybody is told, and who is out gets nothing more', async () => {
  const [alice, bob, carol] = await three()
  const dave = await Somebody.enter(world.two, world.server, fresh('dave'))
  let dialog = await alice.members()
  await dialog.getByText('3 members').waitFor()
  await dialog.getByRole('textbox', { name: 'Invite' }).fill(dave.name)
  await alice.page.keyboard.press('Enter')
  await dialog.getByText('4 members').waitFor()
  await dialog.getByRole('button', { name: `Make admin: ${bob.name}` }).click()
  await dialog.getByRole('button', { name: `No admin: ${bob.name}` }).waitFor()
  await alice.page.keyboard.press('Escape')
  await bob.line(`${alice.name} added ${dave.name}`)
  await bob.line(`${alice.name} made you admin`)
  // Who is new knows the name, and nothing from before.
  await dave.choose('Cliff')
  await dave.line(`${alice.name} added you`)
  await alice.say('welcome')
  await dave.message('welcome').waitFor()
  expect(await dave.texts()).toEqual(['welcome'])

  dialog = await bob.members()
  await dialog.getByRole('button', { name: `Remove ${carol.name}` }).click()
  await dialog.getByText('3 members').waitFor()
  await dialog.getByRole('textbox', { name: 'Name of the group' }).fill('North cliff')
  await dialog.getByRole('button', { name: 'Rename' }).click()
  await bob.page.keyboard.press('Escape')
  await carol.line(`${bob.name} removed you`)
  await carol.page.getByText('You are no member of this group any more.').waitFor()
  await alice.opened('North cliff')
  await alice.line(`${bob.name} named the group \u201cNorth cliff\u201d`)
  await alice.say('without carol')
  await dave.message('without carol').waitFor()

  dialog = await dave.members()
  expect(await dialog.getByRole('textbox').count()).toBe(0) // no admin, nothing to administer
  await dialog.getByText('Leave the group').click()
  await dialog.getByRole('button', { name: 'Leave', exact: true }).click()
  await dave.line('You left')
  await dave.page.getByText('You are no member of this group any more.').waitFor()
  await alice.line(`${dave.name} left`)
  await alice.say('two of us')
  await bob.message('two of us').waitFor()
  await alice.tick('two of us', 'delivered to all, read by all')
  expect(await carol.texts()).toEqual(['hello all', 'welcome'])
  expect(await dave.texts()).toEqual(['welcome', 'without carol'])
})

/** How wide the picture is that an element shows, px. */
async function widthOf(face: Locator): Promise<number> {
  await face.waitFor()
  return face.evaluate((img: HTMLImageElement) => img.decode().then(() => img.naturalWidth))
}

const ofList = (who: Somebody, title: string) => who.page.locator('#chats').getByRole('button', { name: title }).locator('img')
const ofHead = (who: Somebody) => who.page.locator('#chat > header img')
const ofDialog = (who: Somebody) => who.page.getByRole('dialog').getByRole('img', { name: /^Picture of/ })

test('a picture: an admin gives it, all see it, also who joins, and after a reload; it is taken away', async () => {
  const [alice, bob, carol] = await three()
  let dialog = await alice.members()
  const choose = (buffer: Buffer) => dialog.getByLabel('Choose a picture').setInputFiles({ name: 'cliff.png', mimeType: 'image/png', buffer })
  const away = () => dialog.getByRole('button', { name: 'Take the picture away' })
  expect(await away().isVisible()).toBe(false)
  for (const who of [alice, bob]) expect(await who.page.locator('img.face').filter({ visible: true }).count()).toBe(0)
  await choose(Buffer.from('no picture'))
  await dialog.getByText('no picture that this browser can read').waitFor()
  await choose(png(900, 600))
  expect(await widthOf(ofDialog(alice))).toBe(128)
  await alice.page.keyboard.press('Escape')
  await alice.line('You changed the group\u2019s picture')
  for (const who of [bob, carol]) {
    await who.line(`${alice.name} changed the group\u2019s picture`)
    for (const face of [ofList(who, 'Cliff'), ofHead(who)]) expect(await widthOf(face)).toBe(128)
  }
  // Who is no admin sees it and changes nothing.
  dialog = await bob.members()
  expect(await widthOf(ofDialog(bob))).toBe(128)
  expect(await dialog.getByLabel('Choose a picture').isVisible()).toBe(false)
  await bob.page.keyboard.press('Escape')
  // It stays with another name, goes to who joins, and is there after a reload without a connection.
  const dave = await Somebody.enter(world.two, world.server, fresh('dave'))
  dialog = await alice.members()
  await dialog.getByRole('textbox', { name: 'Name of the group' }).fill('North cliff')
  await dialog.getByRole('button', { name: 'Rename' }).click()
  await dialog.getByRole('textbox', { name: 'Invite' }).fill(dave.name)
  await alice.page.keyboard.press('Enter')
  await dialog.getByText('4 members').waitFor()
  await alice.page.keyboard.press('Escape')
  await dave.choose('North cliff')
  expect(await widthOf(ofHead(dave))).toBe(128)
  await bob.opened('North cliff')
  expect(await widthOf(ofHead(bob))).toBe(128)
  await carol.page.close()
  const context = bob.page.context()
  await context.route('**/config', (route) => route.abort('connectionrefused'))
  try {
    await bob.page.reload()
    await bob.page.getByText('No connection').waitFor()
    expect(await widthOf(ofList(bob, 'North cliff'))).toBe(128)
    await bob.opened('North cliff')
    expect(await widthOf(ofHead(bob))).toBe(128)
  } finally {
    await context.unroute('**/config')
  }
  // It is taken away, also without a connection and over a reload.
  await alice.aeroplane(true)
  dialog = await alice.members()
  await away().focus()
  await alice.page.keyboard.press('Enter')
  await ofDialog(alice).waitFor({ state: 'hidden' })
  await alice.page.locator('#group-picture:focus').waitFor()
  await alice.page.keyboard.press('Escape')
  await alice.line('You took the group\u2019s picture away')
  await ofHead(bob).waitFor()
  await alice.page.reload()
  await bob.line(`${alice.name} took the group\u2019s picture away`)
  for (const face of [ofHead(bob), ofList(bob, 'North cliff'), ofHead(alice)]) await face.waitFor({ state: 'hidden' })
  // One that is chosen without a connection waits with its bytes.
  await alice.online()
  await alice.aeroplane(true)
  dialog = await alice.members()
  await choose(png(40, 90))
  await ofDialog(alice).waitFor()
  await alice.page.reload()
  expect(await widthOf(ofHead(bob))).toBe(128)
  expect(await bob.lines()).toEqual(expect.arrayContaining([`${alice.name} changed the group\u2019s picture`, `${alice.name} took the group\u2019s picture away`]))
})

test('who is no admin any more does not change the picture, nor the name, and sees that', async () => {
  const [alice, bob] = await three()
  const dialog = await alice.members()
  await dialog.getByRole('button', { name: `Make admin: ${bob.name}` }).click()
  await bob.line(`${alice.name} made you admin`)
  await bob.aeroplane(true)
  const theirs = await bob.members()
  await theirs.getByLabel('Choose a picture').setInputFiles({ name: 'mine.png', mimeType: 'image/png', buffer: png(90, 90) })
  await theirs.getByRole('textbox', { name: 'Name of the group' }).fill('My cliff')
  await theirs.getByRole('button', { name: 'Rename' }).click()
  await bob.page.keyboard.press('Escape')
  await bob.opened('My cliff')
  await ofHead(bob).waitFor()
  await dialog.getByLabel('Choose a picture').setInputFiles({ name: 'ours.png', mimeType: 'image/png', buffer: png(90, 90) })
  await ofDialog(alice).waitFor()
  await dialog.getByRole('button', { name: 'Take the picture away' }).click()
  await dialog.getByRole('button', { name: `No admin: ${bob.name}` }).click()
  await dialog.getByRole('button', { name: `Make admin: ${bob.name}` }).waitFor()
  await bob.aeroplane(false)
  await bob.line('You changed the group\u2019s picture: not done. Only admins may do this.')
  await bob.line('You named the group \u201cMy cliff\u201d: not done. Only admins may do this.')
  await bob.opened('Cliff')
  await ofHead(bob).waitFor({ state: 'hidden' })
})

test('a change waits without a connection, over a reload; what a group does not take is told', async () => {
  const [alice, bob, carol] = await three()
  let dialog = await alice.members()
  await dialog.getByRole('button', { name: `Make admin: ${bob.name}` }).click()
  await bob.line(`${alice.name} made you admin`)
  await bob.aeroplane(true)
  await bob.page.keyboard.press('Escape')
  const theirs = await bob.members()
  await theirs.getByRole('button', { name: `Remove ${carol.name}` }).click()
  await bob.page.keyboard.press('Escape')
  await bob.page.locator('#log .change').filter({ hasText: `You removed ${carol.name}` }).getByRole('img', { name: 'waiting' }).waitFor()
  await dialog.getByRole('button', { name: `No admin: ${bob.name}` }).click()
  await dialog.getByRole('button', { name: `Make admin: ${bob.name}` }).waitFor()
  await alice.page.keyboard.press('Escape')
  await bob.page.reload()
  await bob.line('not done. Only admins may do this.')

  await alice.aeroplane(true)
  dialog = await alice.members()
  await dialog.getByRole('button', { name: `Remove ${carol.name}` }).click()
  await alice.page.keyboard.press('Escape')
  await alice.page.reload()
  await alice.line(`You removed ${carol.name}`)
  await carol.line(`${alice.name} removed you`)
  await bob.line(`${alice.name} removed ${carol.name}`)
})

test('the server holds ciphertext of a group, and its members alone', async () => {
  const [alice, bob] = await three('Secret name')
  await alice.say('a secret of theirs')
  await bob.message('a secret of theirs').waitFor()
  const peer = decodeURIComponent(new URL(alice.page.url()).hash.slice(1))
  const token = await alice.page.evaluate(async (user) => {
    const answer = await fetch('/dev/token', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ user }) })
    return ((await answer.json()) as { token: string }).token
  }, alice.name)
  const history = await fetch(`${world.server.web}v1/history?peer=${peer}`, { headers: { Authorization: `Bearer ${token}` } })
  const text = await history.text()
  expect(history.status, text).toBe(200)
  const rows = (JSON.parse(text) as { messages: { content: string; suite: number }[] }).messages
  expect(rows.map((row) => row.suite)).toContain(3)
  expect(rows.filter((row) => row.suite === 1).length).toBeGreaterThanOrEqual(3)
  for (const { content, suite } of rows) {
    expect(suite).toBeGreaterThan(0)
    expect(Buffer.from(content, 'base64').toString('latin1')).not.toMatch(/secret|hello/i)
  }
})

test('page and command line (Go) in one group', async () => {
  const [alice, bob] = await three()
  const peer = decodeURIComponent(new URL(alice.page.url()).hash.slice(1))
  const dave = fresh('dave')
  const env = { ...process.env, ROOKERY_BIN: undefined }
  const as = (...args: string[]) => [...args, '--as', dave, '--url', world.server.url, '--data', data]
  const go = (...args: string[]) => execFileSync(rookery, as(...args), { encoding: 'utf8', env })
  go('send', '--to', dave, '--wait', 'durable', 'note') // there are keys from now on
  const dialog = await alice.members()
  await dialog.getByRole('textbox', { name: 'Invite' }).fill(dave)
  await alice.page.keyboard.press('Enter')
  await dialog.getByText('4 members').waitFor()
  await alice.page.keyboard.press('Escape')
  await alice.say('from the page')
  const tail = spawn(rookery, as('tail'), { stdio: ['ignore', 'pipe', 'ignore'], env })
  for await (const line of createInterface({ input: tail.stdout! })) if (line.includes('from the page')) break
  const gone = new Promise((done) => tail.once('exit', done))
  tail.kill('SIGINT') // it keeps what it has of keys
  await gone
  go('send', '--to', peer, '--wait', 'durable', 'from Go')
  for (const who of [alice, bob]) await who.message('from Go').locator('.from').getByText(dave).waitFor()

  // The picture, from the page to Go and back.
  await alice.members()
  await dialog.getByLabel('Choose a picture').setInputFiles({ name: 'cliff.png', mimeType: 'image/png', buffer: png(300, 300) })
  await ofDialog(alice).waitFor()
  await dialog.getByRole('button', { name: `Make admin: ${dave}` }).click()
  await dialog.getByRole('button', { name: `No admin: ${dave}` }).waitFor()
  await alice.page.keyboard.press('Escape')
  await bob.line(`${alice.name} made ${dave} admin`)
  const [saved, set] = [join(dir, 'saved.jpg'), join(dir, 'set.png')]
  writeFileSync(set, png(48, 48))
  const types = (line: string) => execFileSync(rookery, as('chat', '--with', peer), { encoding: 'utf8', env, input: `${line}\n`, stdio: ['pipe', 'pipe', 'ignore'] })
  types(`/picture save ${saved}`)
  expect(readFileSync(saved).subarray(0, 3).toString('hex')).toBe('ffd8ff') // a JPEG, as the page makes pictures
  types(`/picture set ${set}`)
  for (const who of [alice, bob]) {
    await who.line(`${dave} changed the group\u2019s picture`)
    expect(await widthOf(ofHead(who))).toBe(48)
  }
})

test('by the keyboard alone', async () => {
  const { one, two, server } = world
  const page = await one.newPage()
  const [name, bob] = [fresh('keys'), await Somebody.enter(two, server, fresh('bob'))]
  await page.goto(server.web)
  const keys = page.keyboard
  const focused = (id: string) => page.locator(`#${id}:focus`).waitFor()
  const tabTo = async (id: string, key = 'Tab') => {
    for (let i = 0; i < 20 && (await page.evaluate(() => document.activeElement!.id)) !== id; i++) await keys.press(key)
    await focused(id)
  }
  await focused('name')
  await keys.type(name)
  await keys.press('Enter')
  const alice = new Somebody(page, name)
  await alice.online()
  await focused('peer')
  await tabTo('group-open')
  await keys.press('Enter')
  await focused('group-name')
  await keys.type('Keys')
  await tabTo('group-users')
  await keys.type('no/name')
  await keys.press('Enter')
  await page.getByRole('alert').getByText('cannot be a name').waitFor()
  await keys.press('Control+a')
  await keys.type(bob.name)
  await keys.press('Enter')
  await alice.opened('Keys')
  await focused('text')
  await keys.type('without a mouse')
  await keys.press('Enter')
  await bob.choose('Keys')
  await bob.message('without a mouse').waitFor()
  await tabTo('members-open', 'Shift+Tab')
  await keys.press('Enter')
  const dialog = page.getByRole('dialog')
  await dialog.getByText('2 members').waitFor()
  await tabTo('invite-users')
  await keys.type('carol dave')
  await keys.press('Enter')
  await dialog.getByText('4 members').waitFor()
  const remove = dialog.getByRole('button', { name: 'Remove carol' })
  await remove.focus()
  await keys.press('Space')
  await dialog.getByText('3 members').waitFor()
  await keys.press('Escape')
  await dialog.waitFor({ state: 'hidden' })
  await focused('members-open')
  await bob.line(`${name} removed carol`)
})

test('axe-core finds nothing in a group, in light and dark, on a desktop and a phone; screenshots', async () => {
  const [ada, bert, cleo] = await three('North cliff', ['ada', 'bert', 'cleo'])
  await bert.say('Have you seen the colony? There must be a thousand of them.')
  await cleo.say('Yes, this morning.')
  await ada.message('this morning').waitFor()
  await cleo.chatWith(fresh('nobody'))
  await ada.say('I go there this afternoon. Who comes along?')
  await ada.tick('Who comes along?', 'delivered to all, read by 1 of 2')
  const { page } = ada
  const group = decodeURIComponent(new URL(page.url()).hash.slice(1))
  const dialog = page.getByRole('dialog')
  await ada.members()
  await dialog.getByLabel('Choose a picture').setInputFiles({ name: 'cliff.png', mimeType: 'image/png', buffer: png(300, 300) })
  await ofDialog(ada).waitFor()
  await page.keyboard.press('Escape')
  await bert.line('changed the group\u2019s picture')
  const open = (name: string) => page.evaluate((to) => (location.hash = encodeURIComponent(to)), name)
  const views: [string, () => Promise<unknown>][] = [
    ['group', () => open(group).then(() => ada.opened('North cliff'))],
    ['group-list', () => open('')],
    ['new-group', () => page.getByRole('button', { name: 'New group' }).click().then(() => dialog.waitFor())],
    ['members', () => open(group).then(() => ada.members()).then(() => dialog.getByText('3 members').waitFor())],
  ]
  expect(await looks(page, views)).toEqual([])
})
