// A server that lies: what the real one has for a user it tells otherwise.
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'

import { decodePackets, encodePacket, subprotocol } from '../src/packets.ts'
import type { Packet } from '../src/schema.ts'
import type { At } from './world.ts'

/** What comes in the place of a packet. */
export type Lie = (packet: Packet) => Packet[]
/** A message as it comes in a user's chain. */
export type Entry = Extract<Packet, { type: 'message' | 'group_message' }>
/** Tells entries from all that comes. */
export type Which = (packet: Packet) => packet is Entry

/** Stands between a user and the server. It tells the truth at first. */
export class Liar implements At {
  readonly #sockets: WebSocketServer
  #lie: Lie = (packet) => [packet]
  #cut = false
  /** Whether it has lied since {@link lies}. */
  lied = false

  private constructor(
    sockets: WebSocketServer,
    private readonly server: At,
  ) {
    this.#sockets = sockets
    sockets.on('connection', (client, request) => {
      if (this.#cut) return client.terminate()
      const { authorization, 'sec-websocket-protocol': protocols } = request.headers
      const upstream = new WebSocket(server.url + request.url, protocols?.split(/, */), { headers: authorization ? { authorization } : {} })
      const early: Buffer[] = [] // what the client says before the server listens
      client.on('message', (data: Buffer) => (upstream.readyState === WebSocket.OPEN ? upstream.send(data) : early.push(data)))
      upstream.on('open', () => early.forEach((data) => upstream.send(data)))
      upstream.on('message', (data: Buffer) => {
        const told = decodePackets(data).flatMap((packet) => this.#tell(packet))
        if (told.length > 0) client.send(Buffer.concat(told.map(({ type, ...fields }) => encodePacket(type, fields))))
      })
      for (const [one, other] of [[client, upstream], [upstream, client]] as const) {
        one.on('close', () => other.close())
        one.on('error', () => other.terminate())
      }
    })
  }

  static async start(server: At): Promise<Liar> {
    const sockets = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => subprotocol })
    await new Promise((done) => sockets.once('listening', done))
    return new Liar(sockets, server)
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#sockets.address() as AddressInfo).port}`
  }

  get web(): string {
    return this.server.web
  }

  lies(lie: Lie): void {
    this.#lie = lie
    this.lied = false
  }

  /** Has nobody reach the server by it, until that is taken back. */
  cut(on: boolean): void {
    this.#cut = on
    if (on) for (const client of this.#sockets.clients) client.terminate()
  }

  #tell(packet: Packet): Packet[] {
    const told = this.#lie(packet)
    this.lied ||= told.length !== 1 || told[0] !== packet
    return told
  }

  close(): void {
    for (const client of this.#sockets.clients) client.terminate()
    this.#sockets.close()
  }
}

/** The first of such entries comes otherwise. */
export function once(which: Which, otherwise: (entry: Entry) => Entry): Lie {
  let done = false
  return (packet) => {
    if (done || !which(packet)) return [packet]
    done = true
    return [otherwise(packet)]
  }
}

/** In the place of the second of such entries the first one comes again. */
export function again(which: Which): Lie {
  let first: Entry | null = null
  return (packet) => {
    if (!which(packet)) return [packet]
    const told = first ? { ...at(packet, first), ...('place' in packet && { place: packet.place }) } : packet
    first ??= packet
    return [told as Packet]
  }
}

/** The first of some entries and the first of others after it change their places. What is between them in the chain waits. */
export function exchanged(which: Which, other: Which): Lie {
  const waiting: Packet[] = []
  let done = false
  return (packet) => {
    if (done || !('gap' in packet) || (waiting.length === 0 && !which(packet))) return [packet]
    waiting.push(packet)
    if (waiting.length === 1 || !other(packet)) return []
    done = true
    const first = waiting[0] as Entry
    return [at(first, packet), ...waiting.slice(1, -1), at(packet, first)]
  }
}

/** An entry at another one's position in the chain. */
function at({ pos, gap }: Entry, entry: Entry): Entry {
  return { ...entry, pos, gap }
}

export const suiteMegolm = 1
export const suiteKeyShare = 2

/** Messages of a user of a suite. */
export const entries = (from: string, suite: number): Which =>
  ((p) => (p.type === 'message' || p.type === 'group_message') && p.from === from && p.suite === suite) as Which

/** A key share (docs/encryption.md, Envelopes) that is for nobody. */
export function emptied(share: Entry): Entry {
  const head = 1 + 1 + share.content![1]! + 16 // version, device, session
  return { ...share, content: Uint8Array.from([...share.content!.subarray(0, head), 0, 0]) }
}

export function tampered(message: Entry): Entry {
  const content = message.content!.slice()
  content[content.length - 70]! ^= 1 // before the signature
  return { ...message, content }
}

export const plain = (message: Entry): Entry => ({ ...message, suite: 0, content: new TextEncoder().encode('plain') })
