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
  /** Whether it has lied since {@link lies}. */
  lied = false

  private constructor(sockets: WebSocketServer, server: At) {
    this.#sockets = sockets
    sockets.on('connection', (client, request) => {
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

  lies(lie: Lie): void {
    this.#lie = lie
    this.lied = false
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
