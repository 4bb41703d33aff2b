// How somebody links a browser in the page.
import { type BrowserContext, type Locator } from 'playwright-core'

import { Somebody, type World } from './world.ts'

interface Photo { name: string; mimeType: string; buffer: Buffer }

/** Opens the page under a name that other devices have. */
export async function another(world: World, context: BrowserContext, name: string): Promise<Somebody> {
  const who = new Somebody(await context.newPage(), name)
  await who.page.goto(world.server.web)
  await who.page.getByLabel('Your name').fill(name)
  await who.page.getByRole('button', { name: 'Start' }).click()
  await who.page.getByText('Other devices have this name.').waitFor()
  return who
}

export async function devices({ page }: Somebody): Promise<Locator> {
  await page.getByRole('button', { name: 'Devices', exact: true }).click()
  return page.getByRole('dialog', { name: 'Your devices' })
}

/** Has a device show a code. */
export async function offer(who: Somebody, history = true): Promise<string> {
  const dialog = await devices(who)
  await dialog.getByLabel('The new device reads what was said before').setChecked(history)
  await dialog.getByRole('button', { name: 'Link a device' }).click()
  const code = dialog.getByLabel('Code', { exact: true })
  await code.waitFor()
  return (await code.textContent())!
}

/** The code that a device shows, as a photo of it. */
export async function photo({ page }: Somebody): Promise<Photo> {
  const code = page.getByRole('img', { name: 'The same as a QR code' })
  await code.locator('path[d^="M"]').waitFor()
  return { name: 'photo.png', mimeType: 'image/png', buffer: await code.screenshot() }
}

/** Gives a code on a new device. */
export async function give({ page }: Somebody, code: string | Photo): Promise<Locator> {
  await page.getByRole('button', { name: 'Link this browser' }).click()
  const dialog = page.getByRole('dialog', { name: 'Link this browser' })
  if (typeof code !== 'string') await dialog.getByLabel('Scan it').setInputFiles(code)
  else {
    await dialog.getByLabel('Code', { exact: true }).fill(code)
    await page.keyboard.press('Enter')
  }
  return dialog
}
