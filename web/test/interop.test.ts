// The page and the command line (the Go SDK) over a server that can lie: `rookery chat` and `tail`.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'

import { again, emptied, entries, exchanged, Liar, type Lie, once, plain, suiteKeyShare, suiteMegolm, tampered } from '../../sdk/js/test/liar.ts'
import { closeAll, hears, inGo, type Peer, type Talk } from '../../sdk/js/test/peers.ts'
import { env } from '../../sdk/js/test/world.ts'
import { another, give, offer } from './linking.ts'
import { data, dir, fresh, rookery, setUp, Somebody, waitMs } from './world.ts'

const liar = await Liar.start({ get url() { return world.server.url }, get web() { return world.server.web } })
// A page of history is much less than what is said in a day, and so is what a device is sent ahead of its mark.
const world = setUp('--session-history-rows=6', '--session-window=16', `--web-sockets=${liar.url}`)

afterEach(closeAll)
afterAll(() => liar.close())

/** Somebody at the page, and somebody at the command line who talks with them; what they say first the page is told so. */
async function pair(lie?: (from: string) => Lie): Promise<[Somebody, Peer, Talk]> {
  const [bob, alice] = await Promise.all([inGo(world, fresh('bob')), Somebody.enter(world.one, world.server, fresh('alice'))])
  await alice.chatWith(bob.user)
  await alice.say('hello')
  expect(await bob.hear(1)).toEqual([`${alice.name} alone: hello`])
  if (lie) liar.lies(lie(bob.user))
  const chat = await bob.talk(alice.name)
  await chat.say('hello, page')
  await alice.message('hello, page').waitFor()
  await alice.say('hello, chat')
  await hears(chat, `${alice.name} alone: hello, chat`) // where it begins may be before what Bob's other device has heard
  expect(await bob.hear(1)).toEqual([`${alice.name} alone: hello, chat`])
  return [alice, bob, chat]
}

const reaction = (who: Somebody, message: string, name: string) => who.message(message).first().getByRole('group', { name: 'Reactions' }).getByRole('button', { name })

/** Has the messages of the open chat disappear after an hour. */
async function disappear({ page }: Somebody): Promise<void> {
  await page.getByRole('button', { name: 'More about this chat' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Messages disappear').evaluate((select: HTMLSelectElement) => {
    select.add(new Option('an hour', '3600'))
    select.value = '3600'
  })
  await dialog.getByRole('button', { name: 'Set' }).click()
}

test('each sees the other\u2019s pictures', async () => {
  const [alice, bob] = await pair()
  // Pictures are what the page looks like: PNGs of these sizes.
  const picture = (width: number, height: number) => alice.page.screenshot({ clip: { x: 0, y: 0, width, height } })
  await alice.page.getByLabel('Send a picture').setInputFiles({ name: 'shore.png', mimeType: 'image/png', buffer: await picture(400, 200) })
  expect((await bob.hear(1))[0]).toContain(`${alice.name} alone: shore.`)
  const saved = readdirSync(dir, { recursive: true, encoding: 'utf8' }).find((name) => name.includes('/shore.'))!
  expect(readFileSync(join(dir, saved)).subarray(0, 3).toString('hex')).toBe('ffd8ff') // a JPEG, as the page makes pictures

  const sent = join(dir, 'cliff.png')
  writeFileSync(sent, await picture(300, 150))
  const at = [`--url=${world.server.url}`, `--web=${world.server.web}`, `--data=${data}`]
  execFileSync(rookery, ['send', `--as=${bob.user}`, ...at, `--to=${alice.name}`, `--file=${sent}`, '--wait=durable', 'look at this'], { env })
  await alice.message('look at this').waitFor()
  await alice.page.getByRole('button', { name: 'cliff.png' }).click()
  const whole = alice.page.getByRole('dialog').getByRole('img', { name: 'cliff.png' })
  await whole.waitFor()
  expect(await whole.evaluate((img: HTMLImageElement) => img.decode().then(() => [img.naturalWidth, img.naturalHeight]))).toEqual([300, 150])
  await bob.close()
})

test('replies, edits, reactions and deletions of each, as the other sees them; a linked device keeps to the chat\u2019s timer', async () => {
  const [alice, bob, chat] = await pair()
  const told = async (line: string) => expect(await chat.hear(1)).toEqual([`${alice.name} alone: ${line}`])
  await alice.say('who comes alog?')
  await told('who comes alog?')
  await chat.keep('/reply I do')
  await alice.message('I do').getByRole('button', { name: 'Reply to You who comes alog?' }).waitFor()
  await chat.keep('/react 🐦')
  await reaction(alice, 'who comes', `🐦 from ${bob.user}`).waitFor()
  await chat.keep('/edit I do not')
  await alice.message('I do not').getByText('edited').waitFor()
  await chat.keep('/delete')
  await alice.message('This message was deleted').waitFor()

  await (await alice.act('who comes')).getByRole('button', { name: 'Edit' }).click()
  await alice.say('who comes along?')
  await told('(edit) who comes along?')
  await (await alice.act('hello, page')).getByRole('button', { name: '👍' }).click()
  await told('(reaction) 👍')
  await (await alice.act('hello, page')).getByRole('button', { name: 'Reply' }).click()
  await alice.say('nobody?')
  await told('(text) nobody?')
  await alice.act('nobody?')
  await alice.page.getByRole('button', { name: 'Delete for everyone' }).click()
  await alice.page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click()
  await told('(delete) ')

  await chat.keep('/disappear 2h')
  await alice.page.locator('#presence').getByText('messages disappear after 2 hours').waitFor()
  await alice.say('two hours')
  await told('(text 7200) two hours')
  await disappear(alice)
  await told('(timer 3600) ')
  for (let n = 1; n <= 14; n++) await chat.say(`${n}`) // the timer is on no page of history that is read where nobody scrolls
  await alice.message('14').waitFor()
  const laptop = await another(world, world.two, alice.name)
  await (await give(laptop, await offer(alice))).getByText('What was said before can be read here.').waitFor()
  await laptop.page.keyboard.press('Escape')
  await laptop.choose(bob.user)
  await laptop.message('14').waitFor()
  expect(await laptop.page.locator('#log .change').count()).toBe(0)
  await laptop.say('from the laptop')
  await told('(text 3600) from the laptop')
  await laptop.page.locator('#presence').getByText('messages disappear after 1 hour').waitFor()
  await bob.close()
})

test('another identity of either is told to the other, who writes no more until it is accepted', async () => {
  const [alice, bob, chat] = await pair()
  // Alice in another browser.
  const anew = await another(world, world.two, alice.name)
  await anew.page.getByRole('button', { name: 'Take over' }).click()
  await anew.online()
  await anew.page.locator('#elsewhere').waitFor({ state: 'hidden' })
  await anew.chatWith(bob.user)
  await anew.say('it is me')
  expect(await chat.hear(1)).toEqual(['identity_changed'])
  await expect(chat.say('who is there?')).rejects.toThrow('has changed')
  await chat.accept()
  await hears(chat, `${alice.name} alone: it is me`) // past a key that was not hers by the identity of before
  await chat.say('welcome back')
  await anew.message('welcome back').waitFor()
  await alice.page.reload()
  await alice.page.getByText('Other devices have this name.').waitFor()

  // Bob on another machine.
  const after = await inGo(world, bob.user, { device: 'anew', anew: true })
  await (await after.talk(alice.name)).say('here I am, too')
  await anew.page.getByText('The safety number has changed.').waitFor()
  await anew.say('are you?')
  await anew.message('are you?').getByText('Waits for you').waitFor()
  await anew.page.getByRole('button', { name: 'Go on with the new one' }).click()
  expect(await after.hear(1)).toEqual([`${alice.name} alone: are you?`])
  await anew.message('here I am, too').waitFor()
  expect(await anew.message('This cannot be read:').count()).toBe(0) // keys that came before it was accepted
  await expect(bob.send(alice.name, 'as ever')).rejects.toThrow(/another identity|other_identity/)
  await Promise.all([bob.close(), after.close()])
})

test('a page that was closed for a day has all that was said, in order, from a device that it did not know, too; what it wrote arrives once', async () => {
  const [alice, bob, chat] = await pair()
  await alice.aeroplane(true)
  await alice.say('kept')
  await alice.tick('kept', 'waiting')
  await alice.page.close()
  const missed = Array.from({ length: 104 }, (_, n) => `missed ${n}`) // more than a session of the encryption is used for
  await Promise.all(missed.slice(0, 102).map((text) => chat.say(text)))
  for (const text of missed.slice(102)) await bob.send(alice.name, text) // each from a new device
  const back = await Somebody.enter(world.one, world.server, alice.name)
  expect(await bob.hear(1)).toEqual([`${alice.name} alone: kept`])
  await back.page.locator('#chats').getByRole('button', { name: bob.user }).getByText('104 unread').waitFor()
  await back.choose(bob.user)
  const all = ['hello', 'hello, page', 'hello, chat', ...missed, 'kept']
  const older = back.page.getByRole('button', { name: 'Older messages' })
  const texts = async () => {
    if (await older.isVisible()) await older.click({ timeout: 2000 }).catch(() => {}) // it loads, or that was all
    return back.texts()
  }
  await expect.poll(texts, { timeout: waitMs }).toEqual(all)
  await back.say('again')
  expect(await bob.hear(1)).toEqual([`${alice.name} alone: again`])
  await bob.close()
})

test('a key that is late or lost, messages that are reordered, replayed, tampered with or not encrypted', async () => {
  const lost = (from: string) => once(entries(from, suiteKeyShare), emptied)
  const [alice, bob, chat] = await pair(lost) // and shown all the same, as it was asked for
  const messages = entries(bob.user, suiteMegolm)
  const lying = async (lie: Lie, ...says: (() => Promise<unknown>)[]) => {
    expect(liar.lied).toBe(true)
    liar.lies(lie)
    await Promise.all(says.map((say) => say()))
  }
  await lying(exchanged(entries(bob.user, suiteKeyShare), messages), () => bob.send(alice.name, 'late')) // from a new device
  await alice.message('late').waitFor()
  await lying(exchanged(messages, messages), () => chat.say('one'), () => chat.say('two'))
  for (const text of ['one', 'two']) await alice.message(text).waitFor()
  await lying(again(messages), () => chat.say('three'), () => chat.say('not told'))
  await alice.message('three').waitFor()
  await expect.poll(() => liar.lied).toBe(true)
  await lying(once(messages, tampered), () => chat.say('five'))
  await alice.message('This cannot be read').waitFor()
  await lying(once(messages, plain), () => chat.say('six'))
  await alice.message('A message that was not encrypted is not shown.').waitFor()
  await chat.say('seven')
  await alice.message('seven').waitFor()
  expect(await alice.texts()).toEqual(['hello', 'hello, page', 'hello, chat', 'late', 'one', 'two', 'three', 'seven'])
  await bob.close()
})
