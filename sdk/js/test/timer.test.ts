// A server that takes no message which lives for more than an hour, and a chat whose timer says two.
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { bodyOf, type Client, Media, saidOf, sendFile } from '../src/index.ts'
import { dir, fresh, next, openDevice, Server, token } from './world.ts'

const [hour, mostMs] = [3600, 3_600_000]
let server: Server

beforeAll(async () => {
  server = await Server.start(['--session-ttl-max=1h'])
})

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true })
})

test('a timer above the limit is held to it, for what the server and the receivers are told', async () => {
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const [a, b] = await Promise.all([openDevice(server, alice, 'phone'), openDevice(server, bob, 'phone')])
  expect(a.maxTtlSeconds).toBe(hour)
  await (await a.sendBody(bob, bodyOf('timer', { seconds: 2 * hour }))).durable()
  expect(saidOf(await next(b, 'typed'))!.body.seconds).toBe(2 * hour)
  expect([a.timer(bob), b.timer(alice)]).toEqual([hour, hour])

  await (await b.sendBody(alice, bodyOf('text', { text: 'held' }))).durable()
  const said = saidOf(await next(a, 'typed'))!
  expect([said.body.text, said.body.seconds]).toEqual(['held', hour])
  expect(said.message.expires - said.message.at).toBe(mostMs)
  const media = new Media(server.web, () => token(bob))
  await (await sendFile(b, media, alice, { bytes: new Uint8Array(100), name: 'held.bin', type: 'x/y' })).durable()
  const { message } = await next(a, 'typed')
  expect(message.expires - message.at).toBe(mostMs)

  await (await a.sendBody(bob, bodyOf('timer', { seconds: 60 }))).durable() // below it nothing changes
  expect(a.timer(bob)).toBe(60)
  const refused = await a.sendBody(bob, bodyOf('text', { text: 'long' }), { ttlSeconds: 2 * hour }) // what is asked for is no timer
  await expect(refused.durable()).rejects.toMatchObject({ codeName: 'bad_ttl' })
  await Promise.all([a, b].map((each: Client) => each.close()))
})
