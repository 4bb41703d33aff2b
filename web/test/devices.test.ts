// A user's devices: one is linked by a code of another one, reads what was said before, and is taken away.
import { execFile, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

import { another, devices, give, offer, photo } from './linking.ts'
import { data, dir, fresh, looks, pair, png, rookery, setUp, Somebody } from './world.ts'

const world = setUp()

test('a page links another one, which reads what was said before, and takes it away', async () => {
  const [alice, bob] = await pair(world)
  await bob.say('before the link')
  await alice.message('before the link').waitFor()
  const laptop = await another(world, world.two, alice.name)
  await laptop.choose(bob.name)
  await laptop.page.getByText('This cannot be read here').first().waitFor()

  const code = await offer(alice)
  expect(code).toMatch(/^([A-Z2-7]{5}-){7}[A-Z2-7]{5}$/)
  const told = await give(laptop, await photo(alice))
  await told.getByText('What was said before can be read here.').waitFor()
  await laptop.page.keyboard.press('Escape')
  const dialog = alice.page.getByRole('dialog')
  await dialog.getByText('What was said before was handed over.').waitFor()
  await dialog.getByText('2 devices').waitFor()
  expect(await laptop.texts()).toEqual(['hello', 'before the link'])
  await laptop.online()
  await laptop.page.locator('#elsewhere').waitFor({ state: 'hidden' })
  await bob.say('to both')
  await laptop.message('to both').waitFor()
  await laptop.say('from the laptop')
  for (const who of [alice, bob]) await who.message('from the laptop').waitFor()

  const name = (await dialog.locator('li[data-device]', { hasNotText: 'this browser' }).getAttribute('data-device'))!
  await dialog.getByRole('button', { name: `Rename ${name}` }).click()
  await dialog.getByLabel(`Name of ${name}`).fill('Laptop')
  await alice.page.keyboard.press('Enter')
  await dialog.getByRole('button', { name: 'Take away Laptop' }).click()
  await dialog.getByRole('button', { name: 'Keep it' }).click() // as if by mistake
  await dialog.getByRole('button', { name: 'Take away Laptop' }).click()
  await dialog.getByRole('button', { name: 'Take it away' }).click()
  await dialog.getByText('Laptop is no device of yours any more.').waitFor()
  await dialog.getByText('1 device', { exact: true }).waitFor()
  await alice.page.keyboard.press('Escape')
  await laptop.page.getByRole('alert').getByText('took this browser away').waitFor()
  await laptop.page.reload()
  await laptop.page.getByRole('alert').getByText('took this browser away').waitFor()

  // The one that is left goes on, with a token that is newer.
  await alice.aeroplane(true)
  await alice.aeroplane(false)
  await alice.say('without the laptop')
  await bob.message('without the laptop').waitFor()

  await laptop.page.getByRole('button', { name: 'Delete and begin anew' }).click()
  await laptop.page.getByText('Other devices have this name.').waitFor()
  const kept = await laptop.page.evaluate(async (user) => (await indexedDB.databases()).map((each) => each.name!).filter((each) => each.split(':')[1] === user), alice.name)
  expect(kept.filter((each) => each.includes(name))).toEqual([])
  await (await give(laptop, await offer(alice))).getByText('What was said before can be read here.').waitFor()
  await laptop.page.keyboard.press('Escape')
  await laptop.choose(bob.name)
  await laptop.message('without the laptop').waitFor()
})

test('a code that is wrong, withdrawn, or without history', async () => {
  const [alice, bob] = await pair(world)
  const tablet = await another(world, world.two, alice.name)
  const wrong = await give(tablet, 'no code')
  await wrong.getByText('That is not the code').waitFor()
  await tablet.page.keyboard.press('Escape')

  const withdrawn = await offer(alice, false)
  const dialog = alice.page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Withdraw the code' }).click()
  await dialog.getByText('The code was withdrawn.').waitFor()
  await dialog.getByRole('button', { name: 'Link a device' }).click()
  const code = (await dialog.getByLabel('Code', { exact: true }).filter({ hasText: '-' }).textContent())!
  expect(code).not.toBe(withdrawn)
  await (await give(tablet, withdrawn)).getByText('That is not the code').waitFor()
  await dialog.getByText('was refused. That is not the code').waitFor()
  await tablet.page.keyboard.press('Escape')
  const told = await give(tablet, code)
  await told.getByText('What was said before was not handed over.').waitFor()
  await tablet.page.keyboard.press('Escape')
  await dialog.getByText('What was said before is left out.').waitFor()
  await tablet.choose(bob.name)
  await tablet.page.getByText('This cannot be read here').first().waitFor()
  await bob.say('from here on')
  await tablet.message('from here on').waitFor()
})

test('what was said in a chat that is left out stays unread on the new device', async () => {
  const [alice, bob] = await pair(world)
  const carol = await Somebody.enter(world.two, world.server, fresh('carol'))
  await carol.chatWith(alice.name)
  await carol.say('the surprise is for bob')
  await alice.choose(carol.name)
  await alice.message('the surprise').waitFor()
  const tablet = await another(world, world.two, alice.name)
  const dialog = await devices(alice)
  await dialog.getByText('Leave chats out').click()
  await dialog.getByRole('list', { name: 'Chats that are left out' }).getByLabel(carol.name).check()
  await dialog.getByRole('button', { name: 'Link a device' }).click()
  const told = await give(tablet, (await dialog.getByLabel('Code', { exact: true }).filter({ hasText: '-' }).textContent())!)
  await told.getByText('What was said before can be read here.').waitFor()
  await tablet.page.keyboard.press('Escape')
  await dialog.getByText('handed over, but for the chats that were left out.').waitFor()
  await tablet.choose(bob.name)
  await tablet.message('hello').waitFor()
  await tablet.choose(carol.name)
  await tablet.page.getByText('This cannot be read here').first().waitFor()
  expect(await tablet.texts()).toEqual([])
  // Without history there is nothing to leave out.
  await dialog.getByLabel('The new device reads what was said before').uncheck()
  expect(await dialog.getByText('Leave chats out').isVisible()).toBe(false)
})

test('the command line links the page, and the page the command line', async () => {
  const [carol, dave] = [fresh('carol'), await Somebody.enter(world.one, world.server, fresh('dave'))]
  const env = { ...process.env, ROOKERY_BIN: undefined }
  const as = (...args: string[]) => [...args, '--as', carol, '--url', world.server.url, '--data', data]
  const go = async (...args: string[]) => (await promisify(execFile)(rookery, as(...args), { encoding: 'utf8', env })).stdout
  await go('send', '--to', dave.name, '--wait', 'durable', 'from the command line')
  await dave.choose(carol)
  await dave.message('from the command line').waitFor()

  const page = await another(world, world.two, carol)
  const linking = spawn(rookery, as('device', 'link'), { stdio: ['ignore', 'pipe', 'ignore'], env })
  const lines = createInterface({ input: linking.stdout! })[Symbol.asyncIterator]()
  const told = await give(page, (await lines.next()).value!)
  await told.getByText('What was said before can be read here.').waitFor()
  await page.page.keyboard.press('Escape')
  expect((await lines.next()).value).toMatch(/^linked page-/)
  await page.choose(dave.name)
  await page.message('from the command line').waitFor()

  const code = await offer(page)
  const other = ['--device', 'laptop', '--state', join(dir, 'laptop')]
  expect(await go('device', 'link', code, ...other)).toContain('linked laptop\nhistory of 1 sessions')
  await page.page.getByRole('dialog').getByText('laptop is linked. What was said before was handed over.').waitFor()
  expect(await go('history', '--with', dave.name, ...other.slice(2), '--device', 'laptop')).toContain('from the command line')

  // Tokens of before a device is taken away are good no more: the page gets another one when it is told so, for a picture, and to connect.
  await page.page.keyboard.press('Escape')
  await go('device', 'revoke', 'laptop')
  await page.page.getByLabel('Send a picture').setInputFiles({ name: 'after.png', mimeType: 'image/png', buffer: png(90, 60) })
  await dave.page.getByRole('button', { name: 'Open after.jpg' }).waitFor()
  await page.aeroplane(true)
  await page.aeroplane(false)
  await (await devices(page)).locator('li', { hasText: 'terminal-' }).waitFor()
  expect(await page.page.getByRole('dialog').locator('li', { hasText: 'laptop' }).count()).toBe(0)
})

test('by the keyboard alone; axe-core finds nothing, in light and dark, on a desktop and a phone; screenshots', async () => {
  const [alice, { name: bertName }] = await pair(world, 'ada', 'bert')
  const { page } = alice
  const other = await another(world, world.two, alice.name)
  const keys = page.keyboard
  const focused = () => page.evaluate(() => document.activeElement!.id || document.activeElement!.textContent)
  const tabTo = async (id: string, key = 'Tab') => {
    for (let i = 0; i < 20 && (await focused()) !== id; i++) await keys.press(key)
    expect(await focused()).toBe(id)
  }
  await tabTo('devices-open', 'Shift+Tab')
  await keys.press('Enter')
  const dialog = page.getByRole('dialog')
  await dialog.getByText('2 devices').waitFor()
  expect(await focused()).toBe('devices-title')
  await tabTo('Take away')
  await keys.press('Enter')
  expect(await focused()).toBe('device-keep')
  await keys.press('Enter')
  expect(await focused()).toBe('Take away')
  await tabTo('Link a device')
  await keys.press('Enter')
  await dialog.getByLabel('Code', { exact: true }).waitFor()
  expect(await focused()).toBe('link-code')
  await keys.press('Escape')
  await dialog.waitFor({ state: 'hidden' })
  expect(await focused()).toBe('devices-open')

  const open = async () => {
    await page.evaluate(() => (location.hash = '')) // on a phone the list of chats has the button
    await (await devices(alice)).getByText('2 devices').waitFor()
  }
  const views: [string, () => Promise<unknown>][] = [
    ['devices', open],
    ['device-sure', () => open().then(() => dialog.getByRole('button', { name: /^Take away/ }).click())],
    ['link-without', () => open().then(() => dialog.getByText('Leave chats out').click()).then(() => dialog.getByLabel(bertName).waitFor())],
    ['device-name', () => open().then(() => dialog.getByRole('button', { name: /^Rename/ }).first().click())],
    ['link-code', () => open().then(() => dialog.getByRole('button', { name: 'Link a device' }).click()).then(() => dialog.getByLabel('Code', { exact: true }).waitFor())],
  ]
  const joining: [string, () => Promise<unknown>][] = [
    ['elsewhere', () => other.page.getByText('Other devices have this name.').waitFor()],
    ['join', () => other.page.getByRole('button', { name: 'Link this browser' }).click()],
  ]
  expect([...(await looks(page, views)), ...(await looks(other.page, joining))]).toEqual([])
})
