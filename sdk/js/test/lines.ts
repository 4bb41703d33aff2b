// What comes for a device, as lines that a test compares; of a device in Go the same is made of what it prints (peers.ts).
import {
  type Change, type Client, type EncryptedEvent, type EncryptionError, fetchFile, fileOf, isGroup, type Media, type Message, parseChange, type TypedEvent,
} from '../src/index.ts'
import { Notifier } from '../src/notifier.ts'

const text = (m: Message) => (m.content === null ? '?' : new TextDecoder().decode(m.content))

export const changeLine = (from: string, { verb, users }: Change) => [from, verb, ...users].join(' ')

/** The bytes of the file that tests send under a name. */
export function bytesOfFile(name: string): Uint8Array<ArrayBuffer> {
  const seed = [...name].reduce((n, letter) => n * 31 + letter.charCodeAt(0), 7)
  return new Uint8Array(100_001).map((_, i) => i * seed + (i >> 9))
}

/** A file that came. */
export function fileLine(from: string, alone: boolean, name: string, bytes: Uint8Array): string {
  const sent = bytesOfFile(name)
  const whole = bytes.length === sent.length && bytes.every((b, i) => b === sent[i])
  return `${from}${alone ? ' alone' : ''}: ${name}, ${whole ? 'as it was sent' : 'changed'}`
}

async function lineOfFile({ message }: TypedEvent, media: Media): Promise<string | null> {
  const file = fileOf(message.content!)
  return file && fileLine(message.from, !isGroup(message.to), file.name, await fetchFile(media, file))
}

/** An event as a line; null: it is about the connection. */
export function lineOf(e: EncryptedEvent): string | null {
  switch (e.type) {
    case 'message':
      return `${e.message.from} alone: ${text(e.message)}`
    case 'group_message':
      if (e.message.suite === 3) return changeLine(e.message.from, parseChange(e.message.content!))
      return `${e.message.from}: ${text(e.message)}`
    case 'group_named':
      return `${e.message.from} named ${e.info.name}`
    case 'copy':
      return isGroup(e.message.to) ? null : `copy: ${text(e.message)}`
    case 'failed':
      return `failed: ${(e.error as EncryptionError).reason ?? e.error}`
    case 'link_used':
      return e.error ? `refused ${e.device}` : `linked ${e.device}`
    case 'unannounced':
    case 'identity_changed':
    case 'bad_keys':
    case 'left_out':
      return e.type
  }
  return null
}

/** What comes, as lines that a test takes one after the other. */
export class Lines {
  readonly #lines: string[] = []
  readonly #more = new Notifier()
  #end: Error | null = null

  push(line: string | null): void {
    if (line === null) return
    this.#lines.push(line)
    this.#more.fire()
  }

  /** Nothing more comes. */
  close(why: Error): void {
    this.#end = why
    this.#more.fire()
  }

  async next(n: number): Promise<string[]> {
    while (this.#lines.length < n) {
      if (this.#end) throw this.#end
      await this.#more.wait()
    }
    return this.#lines.splice(0, n)
  }

  /** Why nothing more comes: the name of a code. */
  async end(): Promise<string> {
    while (!this.#end) await this.#more.wait()
    return (this.#end as Error & { codeName?: string }).codeName ?? String(this.#end)
  }
}

/** Takes all that comes for a client from now on, and the files that messages bring. */
export function linesOf(client: Client, media: Media): Lines {
  const lines = new Lines()
  const take = async () => {
    for (;;) {
      const event: EncryptedEvent = await client.receive()
      lines.push(event.type === 'typed' ? await lineOfFile(event, media) : lineOf(event))
    }
  }
  take().catch((err: Error) => lines.close(err))
  return lines
}
