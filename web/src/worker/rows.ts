import { type Message as Received, isGroup, parseChange } from '../../../sdk/js/src/index.ts'
import { sortKeyOfId } from '../../../sdk/js/src/id.ts'
import type { Change, Message } from '../talk.ts'
import { bytesOf, fileOf, mediaPrefix } from './media.ts'
import type { Body, Row } from './store.ts'

/** The suite of a change of a group, which the server reads. */
const suiteGroup = 3

export const bodyOf = (some: Partial<Body>): Body => ({ text: '', note: '', file: null, change: null, ...some })

/** The order of what has no id yet: after all that have one, and among each other as they were written. */
export function orderOfWaiting(at: number, last: string): string {
  const least = last.startsWith('w') ? Number(last.slice(1)) + 1 : 0
  return `w${String(Math.max(Math.floor(at), least)).padStart(16, '0')}`
}

/** The id that sorts so. */
export function idOfOrder(order: string): string | null {
  if (order.startsWith('w')) return null
  const [high, mid, low, rest] = [order.slice(0, 4), order.slice(4, 8), order.slice(8, 16), order.slice(16)]
  return `${low}-${mid}-${high}-${rest}`
}

/** A message of the server as it is kept. */
export function rowOf(m: Received, user: string, note: string): Row {
  const mine = m.from === user
  const peer = isGroup(m.to) || mine ? m.to : m.from
  const head = { key: m.id, peer, mine, from: m.from, order: sortKeyOfId(m.id), at: m.at, id: m.id, place: m.place }
  const change = changeOf(m)
  if (change) return { ...head, stage: 'done', body: bodyOf({ change }) }
  const file = m.content && m.media.startsWith(mediaPrefix) ? fileOf(m.content) : null
  const text = file ? (file.text ?? '') : note || !m.content ? '' : new TextDecoder().decode(m.content)
  return { ...head, stage: m.content ? 'done' : 'failed', body: bodyOf({ text, note, file }) }
}

function changeOf({ suite, to, content }: Received): Change | null {
  if (suite !== suiteGroup || !content || !isGroup(to)) return null
  try {
    const { verb, users } = parseChange(content)
    return { verb, users, name: '' }
  } catch {
    return null // the server takes none that cannot be read
  }
}

/** A message as the page shows it. */
export function viewOf({ key, peer, mine, from, order, at, stage, place, body }: Row): Message {
  const { text, note, file, change } = body
  const seen = stage === 'failed' ? stage : stage === 'done' ? (mine ? 'sent' : 'received') : 'waiting'
  const view = file && { name: file.name, type: file.type, size: file.size, thumbnail: file.thumbnail ? bytesOf(file.thumbnail) : null }
  return { key, peer, mine, from, order, at, stage: seen, place, text, note, file: view, change }
}
