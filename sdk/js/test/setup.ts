// What a file's tests begin and end with.
import { rmSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'

import { closeAll, type Peer } from './peers.ts'
import { Browser } from './tab.ts'
import { dir, fresh, Server } from './world.ts'

/** Where peers are. */
export interface World {
  server: Server
  browser: Browser
}

/** The world of a file's tests, which begins before the first and ends after the last. */
export function startWorld(...args: string[]): World {
  const world = {} as World
  beforeAll(async () => {
    world.server = await Server.start(['--auth-origins=*', ...args])
    world.browser = await Browser.start()
  })
  afterEach(closeAll)
  afterAll(async () => {
    await world.browser?.close()
    await world.server?.kill()
    rmSync(dir, { recursive: true })
  })
  return world
}

/** Wants each of them to hear these lines next. */
export async function allHear(who: Peer[], ...lines: string[]): Promise<void> {
  for (const each of who) expect(await each.hear(lines.length), each.user).toEqual(lines)
}

/** A name that no other test uses for a peer of a kind. */
export const named = (kind: string) => fresh(kind.replace('a ', '').toLowerCase())
