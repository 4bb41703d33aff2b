import { decode, Encoder } from '@msgpack/msgpack'

import { ChatError } from './errors.ts'
import type { Message } from './events.ts'
import { bytesOfId, compareIds, idOfBytes, type MessageId, msOfId, sortKeyOfId } from './id.ts'

/** The version of the format. */
const version = 1
/** The most bytes of a reaction: an emoji of several parts. */
export const maxReactionBytes = 64
/** From how many users a message keeps reactions; those of more are left out. */
export const maxReactions = 2048
/** How many changes a {@link Timeline} keeps whose messages it has not; of more, those for the message named first are dropped. */
export const maxPending = 1024

/** The type of a message of the app's own bytes. */
export const typeBody = 1
/** The type of a message that brings a file. */
export const typeFile = 2
/** The type of a message that says something of this module. */
export const typeContent = 3

/**
 * What a message is. `newer`: of a later version; show that it takes a newer client. `text` may reply to a target. `edit`,
 * `delete` and `reaction` change their target. `timer`: what is sent from here on lives for `seconds`; 0 is for ever. `file`:
 * the content is as its own type has it.
 */
export type BodyKind = 'newer' | 'text' | 'edit' | 'delete' | 'reaction' | 'timer' | 'file'

const numbers: Partial<Record<BodyKind, number>> = { text: 1, edit: 2, delete: 3, reaction: 4, timer: 5 }
const names = new Map(Object.entries(numbers).map(([name, n]) => [n, name as BodyKind]))

/** What a message says. docs/protocol.md, section 15, has bytes and rules. */
export interface Body {
  /** What it is. */
  kind: BodyKind
  /** A text, what an edit makes of one, or a reaction; empty takes a reaction back. */
  text: string
  /** The message that this one is about, of the same chat; of a text the one it replies to; null: none. */
  target: MessageId | null
  /** Of a text: it is gone so long after its id's time; of a timer the chat's. 0 is for ever. */
  seconds: number
}

const encoder = new Encoder()

/** Makes a body; what is left out is empty. */
export function bodyOf(kind: BodyKind, fields: Partial<Omit<Body, 'kind'>> = {}): Body {
  return { kind, text: '', target: null, seconds: 0, ...fields }
}

/** Reports whether a body changes another message and is none to show by itself. */
export function changes(body: Body): boolean {
  return body.kind === 'edit' || body.kind === 'delete' || body.kind === 'reaction'
}

/** Reports whether a message of a body is one that the user has not read until it was shown. */
export function counts(body: Body): boolean {
  return !changes(body) && body.kind !== 'timer'
}

/**
 * Reads a body. One of a later version or of an unknown kind is `newer`. Throws {@link ChatError} `bad_packet` for bytes that are
 * none, a change without a target, a longer reaction.
 */
export function parseBody(bytes: Uint8Array): Body {
  let elements: unknown
  try {
    elements = decode(bytes, { useBigInt64: true })
  } catch (err) {
    throw fault(`a content is one array of MessagePack: ${(err as Error).message}`)
  }
  if (!Array.isArray(elements) || elements.length === 0) throw fault('a content is an array, whose first element is its version')
  const [first, kind, text, target, seconds] = elements as unknown[]
  if (first === null || uint(first, 255) === undefined) throw fault("a content's first element is its version")
  if (uint(first, 255) !== version) return bodyOf('newer')
  const n = uint(kind, 255)
  const life = uint(seconds, 0xffff_ffff)
  const words = text ?? ''
  const id = target ?? null
  if (n === undefined || life === undefined || typeof words !== 'string' || (id !== null && !(id instanceof Uint8Array && id.length === 16))) {
    throw fault('an element of a content is of another type or out of range')
  }
  const name = names.get(n)
  if (!name) return bodyOf('newer')
  const body = { kind: name, text: words, target: id && id.some((b) => b !== 0) ? idOfBytes(id) : null, seconds: life }
  check(body)
  return body
}

/** Returns a body's bytes. Throws {@link ChatError} as {@link parseBody}, and for `newer` and `file`, which have none here. */
export function encodeBody(body: Body): Uint8Array {
  const n = numbers[body.kind]
  if (!n) throw fault(`a ${body.kind} has no bytes in this format`)
  check(body)
  const elements: unknown[] = [version, n, body.text, body.target && bytesOfId(body.target), body.seconds]
  while (elements.length > 2 && !elements.at(-1)) elements.pop()
  return encoder.encode(elements)
}

/** Returns what a message of a type says: {@link typeBody}, {@link typeFile} or {@link typeContent}; of others, and where nothing can be read, `newer`. */
export function bodyOfType(type: number, content: Uint8Array): Body {
  if (type === typeBody) return bodyOf('text', { text: new TextDecoder().decode(content) })
  if (type === typeFile) return bodyOf('file')
  try {
    if (type === typeContent) return parseBody(content)
  } catch {
    // as of a later version
  }
  return bodyOf('newer')
}

/** Returns the type and content by which a body is sent: a text that replies to nothing and lives for ever is one that every version reads. */
export function typedOf(body: Body): { type: number; content: Uint8Array } {
  if (body.kind === 'text' && !body.target && !body.seconds) return { type: typeBody, content: new TextEncoder().encode(body.text) }
  return { type: typeContent, content: encodeBody(body) }
}

function check(body: Body): void {
  if (changes(body) && !body.target) throw fault('an edit, deletion or reaction names the message it is for')
  if (body.kind === 'reaction' && new TextEncoder().encode(body.text).length > maxReactionBytes) throw fault(`a reaction has at most ${maxReactionBytes} bytes`)
}

function fault(text: string): ChatError {
  return new ChatError('bad_packet', text)
}

/** An integer from 0 to most; nil and absence are 0. */
function uint(element: unknown, most: number): number | undefined {
  const value = element ?? 0
  if (typeof value === 'bigint') return value >= 0n && value <= BigInt(most) ? Number(value) : undefined
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most ? value : undefined
}

/** What a user said last to a message. */
export interface Reaction {
  /** Who. */
  user: string
  /** What; empty: it was taken back. */
  text: string
  /** The message that said so. */
  id: MessageId
}

/** A message as it is to be shown, with all that changed it. */
export interface Item {
  /** Its id. */
  id: MessageId
  /** Its sender. */
  from: string
  /** When the server says that it ends, ms since 1970; 0 is never. */
  expires: number
  /** What it says now. */
  body: Body
  /** The edit that its text comes from; null: it is as it was sent. */
  edited: MessageId | null
  /** It was deleted for everyone, and says nothing any more. */
  deleted: boolean
  /** In order of the users' names; those without a text were taken back. */
  reactions: Reaction[]
}

/** Makes an item of a message that stands for itself. */
export function itemOf(message: Pick<Message, 'id' | 'from' | 'expires'>, body: Body): Item {
  const { id, from, expires } = message
  return { id, from, expires, body: { ...body }, edited: null, deleted: false, reactions: [] }
}

/**
 * Takes in a change of an item's message, by the message that brought it, and reports whether anything is to be shown otherwise
 * now. Changes may come in any order and more than once: what results is the same. Only the user who sent a message may edit
 * or delete it, and a change is newer than what it changes. Of several edits the one with the greatest id holds, and so of
 * the reactions of a user; a deletion holds for ever.
 */
export function apply(item: Item, id: MessageId, from: string, body: Body): boolean {
  if (compareIds(id, item.id) <= 0 || item.deleted) return false
  if (body.kind === 'reaction') return react(item, id, from, body.text)
  if (from !== item.from) return false
  if (body.kind === 'edit') {
    if (item.body.kind !== 'text' || (item.edited && compareIds(id, item.edited) <= 0)) return false
    item.body.text = body.text
    item.edited = id
    return true
  }
  if (body.kind !== 'delete') return false
  Object.assign(item, { body: bodyOf('newer'), edited: null, deleted: true, reactions: [] })
  return true
}

function react(item: Item, id: MessageId, user: string, text: string): boolean {
  const { reactions } = item
  const at = reactions.findIndex((each) => each.user >= user)
  const old = at >= 0 && reactions[at]!.user === user ? reactions[at]! : null
  if (!old) {
    if (reactions.length >= maxReactions) return false
    reactions.splice(at < 0 ? reactions.length : at, 0, { user, text, id })
    return text !== ''
  }
  if (compareIds(id, old.id) <= 0) return false
  const changed = old.text !== text
  Object.assign(old, { text, id })
  return changed
}

/**
 * When a message disappears, ms since 1970 by the server's clock: when the server says that it ends, or when its sender has said
 * so within the encryption, whichever is first; 0 is never.
 */
export function endOf(item: Pick<Item, 'id' | 'expires' | 'body'>): number {
  const sender = item.body.kind === 'text' && item.body.seconds > 0 ? msOfId(item.id) + item.body.seconds * 1000 : 0
  if (!sender || !item.expires) return sender || item.expires
  return Math.min(sender, item.expires)
}

interface Change {
  id: MessageId
  from: string
  body: Body
}

/**
 * One chat as it is to be shown, made of messages in any order: live ones, and pages of history from the newest back. It keeps
 * what is put in until {@link Timeline.forget} or {@link Timeline.expire}.
 */
export class Timeline {
  readonly #items = new Map<MessageId, Item>()
  /** By target, in the order in which targets were named. */
  readonly #pending = new Map<MessageId, Change[]>()
  #waiting = 0
  #timer: Change | null = null

  /**
   * Takes in a message, and returns the id of the one that is to be shown otherwise now; null: none. What changes a message that
   * is not here waits for it, {@link maxPending} at most.
   */
  put(message: Pick<Message, 'id' | 'from' | 'expires'>, body: Body): MessageId | null {
    const change = { id: message.id, from: message.from, body }
    if (changes(body)) {
      const item = this.#items.get(body.target!)
      if (item) return apply(item, message.id, message.from, body) ? item.id : null
      this.#wait(change)
      return null
    }
    if (this.#items.has(message.id)) return null
    if (body.kind === 'timer' && (!this.#timer || compareIds(message.id, this.#timer.id) > 0)) this.#timer = change
    const item = itemOf(message, body)
    this.#items.set(item.id, item)
    for (const each of this.#pending.get(item.id) ?? []) apply(item, each.id, each.from, each.body)
    this.#drop(item.id)
    return item.id
  }

  /** Keeps a change for a message that may come: of each user and kind the newest one. */
  #wait(change: Change): void {
    const target = change.body.target!
    const list = this.#pending.get(target) ?? []
    this.#pending.set(target, list)
    const at = list.findIndex((each) => each.from === change.from && each.body.kind === change.body.kind)
    if (at < 0) {
      list.push(change)
      this.#waiting++
    } else if (compareIds(change.id, list[at]!.id) > 0) list[at] = change
    while (this.#waiting > maxPending) this.#drop(this.#pending.keys().next().value!)
  }

  #drop(target: MessageId): void {
    this.#waiting -= this.#pending.get(target)?.length ?? 0
    this.#pending.delete(target)
  }

  /** A message that is here. It is the timeline's own: it changes with put. */
  item(id: MessageId): Item | undefined {
    return this.#items.get(id)
  }

  /** All messages, in order. */
  get items(): Item[] {
    return [...this.#items.values()].sort((a, b) => (sortKeyOfId(a.id) < sortKeyOfId(b.id) ? -1 : 1))
  }

  /** For how many seconds messages live that are sent now, as the newest timer that was put in says; 0 is for ever. */
  get timer(): number {
    return this.#timer?.body.seconds ?? 0
  }

  /** Removes the messages that have disappeared by a time of the server's clock, ms since 1970, and returns their ids and when the next one goes; 0: none. */
  expire(now: number): { gone: MessageId[]; next: number } {
    const gone: MessageId[] = []
    let next = 0
    for (const item of this.#items.values()) {
      const end = endOf(item)
      if (!end) continue
      if (end <= now) gone.push(item.id)
      else if (!next || end < next) next = end
    }
    for (const id of gone) this.#items.delete(id)
    return { gone, next }
  }

  /** Removes what is older than a message, so that a chat does not grow for ever. History still has it. */
  forget(before: MessageId): void {
    for (const id of [...this.#items.keys()]) if (compareIds(id, before) < 0) this.#items.delete(id)
  }
}
