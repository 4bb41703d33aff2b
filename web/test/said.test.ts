// Replies, edits, deletions, reactions, messages that disappear, blocking, and what is unread.
import { expect, test } from 'vitest'

import { fresh, looks, pair as pairIn, setUp, Somebody, waitMs } from './world.ts'

const world = setUp('--session-blocks=2', '--session-ttl-max=30d')
const pair = (a?: string, b?: string) => pairIn(world, a, b)

/** Waits for what a message of the open chat shows. */
const shows = (who: Somebody, message: string, text: string) => who.message(message).first().getByText(text).waitFor()
const reaction = (who: Somebody, message: string, name: string) => who.message(message).first().getByRole('group', { name: 'Reactions' }).getByRole('button', { name })

test('reply, edit, react, delete: both see it, over reloads, and as history has it', async () => {
  const [alice, bob] = await pair()
  await alice.say('who comes alog?')
  await bob.message('who comes').waitFor()
  await (await bob.act('who comes')).getByRole('button', { name: 'Reply' }).click()
  await bob.page.getByText(`Reply to ${alice.name}`).waitFor()
  await bob.say('I do')
  await alice.message('I do').getByRole('button', { name: 'Reply to You who comes alog?' }).waitFor()
  // The text of a message changes, also where a reply shows it.
  await (await alice.act('who comes')).getByRole('button', { name: 'Edit' }).click()
  expect(await alice.page.getByRole('textbox', { name: 'Message' }).inputValue()).toBe('who comes alog?')
  await alice.say('who comes along?')
  await shows(bob, 'who comes along?', 'edited')
  await bob.message('I do').getByRole('button', { name: `Reply to ${alice.name} who comes along?` }).waitFor()
  // A reaction is one a user, and is taken back.
  await (await bob.act('who comes')).getByRole('button', { name: '👍' }).click()
  await reaction(alice, 'who comes', `👍 from ${bob.name}`).click()
  await reaction(bob, 'who comes', `👍 2 from ${alice.name}, you`).waitFor()
  const dialog = await bob.act('who comes')
  await dialog.getByRole('textbox', { name: 'Another reaction' }).fill('🐦')
  await bob.page.keyboard.press('Enter')
  await reaction(alice, 'who comes', `🐦 from ${bob.name}`).waitFor()
  await reaction(alice, 'who comes', '👍 from you').click()
  await expect.poll(() => reaction(bob, 'who comes', '👍').count()).toBe(0)
  // What is deleted is gone, and cannot be replied to any more.
  await alice.say('regretted')
  await bob.message('regretted').waitFor()
  await alice.act('regretted')
  await alice.page.getByRole('button', { name: 'Delete for everyone' }).click()
  await alice.page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click()
  await bob.message('This message was deleted').waitFor()
  await alice.message('You deleted this message').waitFor()
  expect(await bob.message('This message was deleted').getByRole('button').count()).toBe(0)
  expect(await alice.message('I do').getByRole('button', { name: 'Reply, react and more' }).count()).toBe(1)
  // Of somebody else's message nothing is to be edited or deleted.
  const theirs = await alice.act('I do')
  expect(await theirs.getByRole('button').filter({ hasText: /Edit|Delete/ }).filter({ visible: true }).count()).toBe(0)
  await alice.page.keyboard.press('Escape')
  const all = async (who: Somebody) => (await who.page.getByRole('log').getByRole('article').allInnerTexts()).map((text) => text.replace(/\s+/g, ' '))
  const before = await all(bob)
  await bob.page.reload()
  await bob.message('I do').waitFor()
  await expect.poll(() => all(bob)).toEqual(before)
  await bob.forget()
  await bob.page.getByRole('button', { name: alice.name }).click()
  await bob.message('This message was deleted').waitFor()
  await shows(bob, 'who comes along?', 'edited')
  await reaction(bob, 'who comes', '🐦 from you').waitFor()
  await bob.message('I do').getByRole('button', { name: `Reply to ${alice.name} who comes along?` }).waitFor()
})

test('a change waits without a connection, over a reload, and is shown meanwhile', async () => {
  const [alice, bob] = await pair()
  await alice.aeroplane(true)
  await (await alice.act('hello')).getByRole('button', { name: 'Edit' }).click()
  await alice.say('good day')
  await shows(alice, 'good day', 'change waits')
  await alice.page.reload()
  await bob.message('good day').waitFor()
  await shows(alice, 'good day', 'edited')
  await expect.poll(() => alice.message('good day').getByText('change waits').count()).toBe(0)
  expect(await bob.texts()).toEqual(['good day'])
})

test('by the keyboard alone', async () => {
  const [alice, bob] = await pair()
  const keys = alice.page.keyboard
  const at = (text: string) => alice.page.locator('article:focus').filter({ hasText: text }).waitFor()
  const writing = () => alice.page.locator('#text:focus').waitFor()
  await bob.say('one')
  await alice.message('one').waitFor()
  await alice.page.getByRole('textbox', { name: 'Message' }).focus()
  await keys.press('ArrowUp')
  await at('one')
  await keys.press('ArrowUp')
  await at('hello')
  await keys.press('e')
  await writing()
  await keys.type('!')
  await keys.press('Enter')
  await bob.message('hello!').waitFor()
  await keys.press('ArrowUp')
  await at('one')
  await keys.press('r')
  await writing()
  await keys.press('Escape') // not to reply after all, and no further
  expect(await alice.page.locator('#about-writing').isVisible()).toBe(false)
  await writing()
  await keys.press('ArrowUp')
  await keys.press('Enter')
  await alice.page.getByRole('dialog').waitFor()
  await alice.page.getByRole('button', { name: '👍' }).focus()
  await keys.press('Enter')
  await reaction(bob, 'one', `👍 from ${alice.name}`).waitFor()
  await at('one')
  await keys.press('Tab') // to what is in the message
  await keys.press('Tab')
  await keys.press('Home')
  await at('hello!')
  await keys.press('Delete')
  await alice.page.locator('#act-keep:focus').waitFor()
  await keys.press('Tab')
  await keys.press('Enter')
  await bob.message('This message was deleted').waitFor()
  await at('You deleted this message')
  await keys.press('Escape')
  await writing()
})

test('what is unread is counted where it is: not what changes a message, and not what was read', async () => {
  const [alice, bob] = await pair()
  await alice.chatWith(fresh('nobody'))
  const badge = (n: number) => alice.page.locator('#chats').getByRole('button', { name: bob.name }).getByText(`${n} unread`).waitFor()
  await bob.say('one')
  await bob.say('two')
  await badge(2)
  await (await bob.act('one')).getByRole('button', { name: 'Edit' }).click()
  await bob.say('1')
  await (await bob.act('hello')).getByRole('button', { name: '👍' }).click()
  await bob.say('three')
  await badge(3)
  await alice.page.reload()
  await badge(3)
  await alice.forget() // the server knows it too
  await alice.page.evaluate(() => (location.hash = ''))
  await badge(3)
  await alice.choose(bob.name)
  await reaction(alice, 'hello', `👍 from ${bob.name}`).waitFor()
  await bob.tick('three', 'read')
  await expect.poll(() => alice.page.locator('#chats .unread').count()).toBe(0)
})

test('messages disappear, in both browsers', async () => {
  const [alice, bob] = await pair()
  await alice.page.getByRole('button', { name: 'More about this chat' }).click()
  const dialog = alice.page.getByRole('dialog')
  await dialog.getByLabel('Messages disappear').evaluate((select: HTMLSelectElement) => {
    select.add(new Option('soon', '3')) // shorter than one can choose
    select.value = '3'
  })
  await dialog.getByRole('button', { name: 'Set' }).click()
  await bob.line(`${alice.name} set messages to disappear after 3 seconds`)
  await bob.page.locator('#presence').getByText('messages disappear after 3 seconds').waitFor()
  await alice.line('You set messages to disappear after 3 seconds')
  await bob.say('soon gone')
  await alice.message('soon gone').waitFor()
  for (const who of [alice, bob]) {
    await who.message('soon gone').waitFor({ state: 'detached' })
    await who.message('hello').waitFor()
    await who.page.reload()
    await who.message('hello').waitFor()
    expect(await who.texts()).toEqual(['hello'])
  }
  await bob.page.getByRole('button', { name: 'More about this chat' }).click()
  await bob.page.getByLabel('Messages disappear').selectOption('Never')
  await bob.page.getByRole('dialog').getByRole('button', { name: 'Set' }).click()
  await alice.line(`${bob.name} set messages to stay`)
  await alice.say('stays')
  await bob.message('stays').waitFor()
  expect(await bob.page.locator('#presence').textContent()).not.toContain('disappear')
  // One that is longer than the server takes is held to what it does.
  await alice.page.getByRole('button', { name: 'More about this chat' }).click()
  const lives = ['Never', 'After 1 hour', 'After 1 day', 'After 7 days']
  expect(await dialog.getByLabel('Messages disappear').locator('option').allTextContents()).toEqual(lives)
  await dialog.getByLabel('Messages disappear').evaluate((select: HTMLSelectElement) => {
    select.add(new Option('late', String(500 * 86_400)))
    select.value = String(500 * 86_400)
  })
  await dialog.getByRole('button', { name: 'Set' }).click()
  await bob.line(`${alice.name} set messages to disappear after 500 days`)
  await bob.page.locator('#presence').getByText('messages disappear after 30 days').waitFor()
  await bob.say('gone in a month')
  await alice.message('gone in a month').waitFor()
  await bob.tick('gone in a month', 'read')
})

/** Polls whether a browser has yet to tell the server that somebody is blocked, or is not any more. */
function untold(who: Somebody, peer: Somebody) {
  return expect.poll(() => who.page.evaluate(async ([user, name]) => {
    const requested = <T>(request: IDBRequest<T>) => new Promise<T>((done) => (request.onsuccess = () => done(request.result)))
    const chats = (await requested(indexedDB.open(`rookery-page:${user}`))).transaction('chats').objectStore('chats')
    return ((await requested(chats.getAll())) as { peer: string; untold: boolean }[]).find((chat) => chat.peer === name)?.untold
  }, [who.name, peer.name]), { timeout: waitMs })
}

test('who is blocked is not heard, until that is taken back', async () => {
  const [alice, bob] = await pair()
  await alice.page.getByRole('button', { name: 'More about this chat' }).click()
  await alice.page.getByRole('button', { name: `Block ${bob.name}`, exact: true }).click()
  await alice.page.getByText(`You have blocked ${bob.name}`).waitFor()
  await alice.page.locator('#chats').getByText('Blocked').waitFor()
  await untold(alice, bob).toBe(false)
  expect(await alice.page.getByRole('textbox', { name: 'Message' }).isVisible()).toBe(false)
  await bob.say('hidden')
  await bob.tick('hidden', 'sent')
  await alice.page.reload()
  await alice.page.getByText(`You have blocked ${bob.name}`).waitFor()
  await alice.online()
  await alice.page.getByRole('button', { name: 'Unblock', exact: true }).click()
  await alice.page.getByRole('textbox', { name: 'Message' }).waitFor()
  await alice.say('I hear you again')
  await bob.message('I hear you again').waitFor()
  await bob.say('at last')
  await alice.message('at last').waitFor()
  expect(await alice.texts()).toEqual(['hello', 'I hear you again', 'at last'])
})

test('a block that the server refuses is told, and not shown as made', async () => {
  const [alice, bob] = await pair()
  const block = async (peer: string) => {
    await alice.page.getByRole('button', { name: 'More about this chat' }).click()
    await alice.page.getByRole('button', { name: `Block ${peer}`, exact: true }).click()
  }
  const others = [fresh('mallory'), fresh('trent')]
  for (const name of others) {
    await alice.chatWith(name)
    await block(name)
    await alice.page.getByText(`You have blocked ${name}`).waitFor()
  }
  await alice.choose(bob.name)
  await block(bob.name)
  const told = alice.page.getByRole('alert').getByText(`${bob.name} is not blocked: you have blocked as many as the server lets you.`)
  await told.waitFor()
  await alice.page.locator('#chats').getByRole('button', { name: bob.name }).getByText('is not blocked').waitFor()
  await alice.page.getByRole('textbox', { name: 'Message' }).waitFor()
  await bob.say('I am still heard')
  await alice.message('I am still heard').waitFor()
  await alice.page.reload()
  await told.waitFor()
  expect(await alice.page.getByText(`You have blocked ${bob.name}`).isVisible()).toBe(false)
  await alice.choose(others[0]!)
  await alice.page.getByRole('button', { name: 'Unblock', exact: true }).click()
  await alice.page.getByRole('textbox', { name: 'Message' }).waitFor()
  await alice.choose(bob.name)
  await block(bob.name)
  await alice.page.getByText(`You have blocked ${bob.name}`).waitFor()
  await told.waitFor({ state: 'hidden' })
  await bob.say('not heard any more')
  await bob.tick('not heard any more', 'sent')
  await alice.page.reload()
  await alice.page.getByText(`You have blocked ${bob.name}`).waitFor()
  expect(await alice.texts()).not.toContain('not heard any more')
})

test('in aeroplane mode too somebody is blocked, and unblocked, which the server gets to know after', async () => {
  const [alice, bob] = await pair()
  await alice.aeroplane(true)
  await alice.page.getByRole('button', { name: 'More about this chat' }).click()
  await alice.page.getByRole('button', { name: `Block ${bob.name}`, exact: true }).click()
  await alice.page.getByText(`You have blocked ${bob.name}`).waitFor()
  await untold(alice, bob).toBe(true)
  await alice.page.reload()
  await alice.page.getByText(`You have blocked ${bob.name}`).waitFor()
  await untold(alice, bob).toBe(false)
  await bob.say('hidden')
  await bob.tick('hidden', 'sent')
  await alice.aeroplane(true)
  await alice.page.getByRole('button', { name: 'Unblock', exact: true }).click()
  await alice.page.getByRole('textbox', { name: 'Message' }).waitFor()
  await alice.aeroplane(false)
  await untold(alice, bob).toBe(false)
  await bob.say('at last')
  await alice.message('at last').waitFor()
  expect(await alice.texts()).toEqual(['hello', 'at last'])
})

test('in a group: reactions of several, who is left out, and the lines of what changed as history has them', async () => {
  const { one, two, server } = world
  const [a, b, never] = [fresh('alice'), fresh('bob'), fresh('never')]
  const [alice, bob] = await Promise.all([Somebody.enter(one, server, a), Somebody.enter(two, server, b)])
  await alice.makeGroup('Cliff', b, never)
  await alice.say('hello all')
  await alice.page.getByText(`Not for ${never}`).waitFor()
  await bob.choose('Cliff')
  await bob.message('hello all').waitFor()
  for (const who of [alice, bob]) await (await who.act('hello all')).getByRole('button', { name: '❤️' }).click()
  await reaction(bob, 'hello all', `❤️ 2 from ${a}, you`).waitFor()
  await reaction(alice, 'hello all', `❤️ 2 from you, ${b}`).waitFor() // so it is in history
  await bob.forget()
  await bob.choose('Cliff')
  await bob.line(`${a} made the group with you and ${never}`)
  await reaction(bob, 'hello all', `❤️ 2 from ${a}, you`).waitFor()
})

test('axe-core finds nothing in them, in light and dark, on a desktop and a phone; screenshots', async () => {
  const [ada, bert] = await pair('ada', 'bert')
  await bert.say('Have you seen the colony on the north cliff?')
  await ada.message('north cliff').waitFor()
  await (await ada.act('north cliff')).getByRole('button', { name: 'Reply' }).click()
  await ada.say('Not yet. I go there this afternoon.')
  await ada.say('With whom, I wonder?')
  await ada.say('Never mind')
  await (await ada.act('With whom')).getByRole('button', { name: 'Edit' }).click()
  await ada.say('Who comes along?')
  await ada.act('Never mind')
  await ada.page.getByRole('button', { name: 'Delete for everyone' }).click()
  await ada.page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click()
  await (await bert.act('Who comes along?')).getByRole('button', { name: '👍' }).click()
  await reaction(ada, 'Who comes along?', '👍').click()
  await reaction(ada, 'Who comes along?', `👍 2 from you, ${bert.name}`).waitFor()
  const { page } = ada
  const dialog = page.getByRole('dialog')
  const open = () => page.evaluate((to) => (location.hash = to), bert.name).then(() => ada.opened(bert.name))
  const views: [string, () => Promise<unknown>][] = [
    ['said', open],
    ['act', () => open().then(() => ada.act('Who comes along?')).then(() => dialog.waitFor())],
    ['sure', () => open().then(() => ada.act('Who comes along?')).then(() => page.getByRole('button', { name: 'Delete for everyone' }).click())],
    ['about', () => open().then(() => page.getByRole('button', { name: 'More about this chat' }).click()).then(() => dialog.waitFor())],
    ['replying', () => open().then(() => ada.act('north cliff')).then(() => page.getByRole('button', { name: 'Reply', exact: true }).click())],
  ]
  expect(await looks(page, views)).toEqual([])
  await page.getByRole('button', { name: 'More about this chat' }).click()
  await page.getByRole('button', { name: `Block ${bert.name}`, exact: true }).click()
  await page.getByText('You have blocked').waitFor()
  expect(await looks(page, [['blocked', open]])).toEqual([])
})
