import { ChatError } from './errors.ts'
import type { Position } from './events.ts'
import { bytesOfId, type MessageId } from './id.ts'
import { checkUser, isUser } from './options.ts'

/** What a change of a group does, in the order of the wire, from 1 on. */
const verbs = ['create', 'add', 'remove', 'leave', 'admin', 'member', 'info'] as const

/**
 * What a change does. `create` makes the group, its sender an admin; `add`, `remove`: the users are members, or no more; `leave`:
 * the sender is none any more; `admin`, `member`: the users, who are members, are admins, or no more; `info`: name and picture.
 * But for `create` and `leave` it takes an admin.
 */
export type Verb = (typeof verbs)[number]

/** A change of a group: the content of a message to it with the suite 3. It has its place among the group's messages. */
export interface Change {
  /** What it does. */
  verb: Verb
  /** To whom. */
  users: string[]
  /** Name and picture, which the server does not read: clients encrypt them. Of `create` and `info`; else empty. */
  info: Uint8Array
}

/** One member of a group. */
export interface Member {
  /** Who. */
  user: string
  /** May change the group. */
  admin: boolean
  /** The place of the change that made them a member: they get what comes from there on. */
  since: Position
  /** How far they have come in the group's order. */
  delivered: Position
  /** Up to where they have been shown it. */
  read: Position
}

/** A group with a page of its members, in order of their names. For the next page ask beyond the last one's `user`. */
export interface GroupPage {
  /** Its name. */
  group: string
  /** Name and picture, as they were given; empty: none. */
  info: Uint8Array
  /** The members. */
  members: Member[]
  /** There are more. */
  more: boolean
  /** In the group's order: what comes later may not be in the list. */
  place: Position
}

/** Returns the name of the group that the message of an id makes: it stands wherever a user's does, and no user can have it. */
export function groupOf(id: MessageId): string {
  const text = btoa(String.fromCharCode(...bytesOfId(id)))
  return `:${text.replaceAll('+', '-').replaceAll('/', '_').slice(0, 22)}`
}

/** Returns a change as bytes. Throws {@link ChatError} `bad_change` for one that cannot be, `bad_name` for what is no user's name. @internal */
export function encodeChange({ verb, users, info }: Change): Uint8Array {
  check(verb, users.length, info.length)
  const head = [1, verbs.indexOf(verb) + 1]
  putVarint(head, users.length)
  for (const user of users) {
    checkUser(user)
    putVarint(head, user.length)
    for (let i = 0; i < user.length; i++) head.push(user.charCodeAt(i))
  }
  const all = new Uint8Array(head.length + info.length)
  all.set(head)
  all.set(info, head.length)
  return all
}

/** Reads the content of a message with the suite 3. Throws {@link ChatError} `bad_change` for what is no change. */
export function parseChange(content: Uint8Array): Change {
  const verb = verbs[content[1]! - 1]
  if (content.length < 3 || content[0] !== 1 || !verb) throw bad
  const users: string[] = []
  let [count, at] = takeVarint(content, 2)
  for (; count > 0; count--) {
    const [length, from] = takeVarint(content, at)
    at = from + length
    const user = String.fromCharCode(...content.subarray(from, at))
    if (!isUser(user)) throw bad
    users.push(user)
  }
  const info = content.slice(at)
  check(verb, users.length, info.length)
  return { verb, users, info }
}

const bad = new ChatError('bad_change', 'no change of a group: version 1, verb, users, info')

/** Holds that a change has what its verb needs, and nothing else. */
function check(verb: Verb, users: number, infoBytes: number): void {
  if (!verbs.includes(verb)) throw new ChatError('bad_change', `there is no change ${JSON.stringify(verb)} of a group`)
  if (verb === 'create') return
  const needsUsers = verb !== 'leave' && verb !== 'info'
  if (needsUsers !== users > 0 || (infoBytes > 0 && verb !== 'info')) {
    throw new ChatError('bad_change', `a change ${verb} with ${users} users and ${infoBytes} bytes of info`)
  }
}

function putVarint(to: number[], n: number): void {
  for (; n > 127; n >>= 7) to.push((n & 127) | 128)
  to.push(n)
}

/** Reads a varint that is at most what is left, and returns it and where it ends. */
function takeVarint(bytes: Uint8Array, at: number): [number, number] {
  let n = 0
  for (let i = 0; i < 10; i++) {
    const byte = bytes[at++]
    if (byte === undefined) break
    n += (byte & 127) * 2 ** (7 * i)
    if (byte > 127) continue
    if (n > bytes.length - at) break
    return [n, at]
  }
  throw bad
}
