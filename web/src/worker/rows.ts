import { apply, type Body as Said, bodyOf, bytesOfBase64, changes, endOf, fileOf, type Item, isGroup, type Message as Received, parseChange, suiteGroup } from '../../../sdk/js/src/index.ts'
import { sortKeyOfId } from '../../../sdk/js/src/id.ts'
import type { Change, Message, Quote } from '../talk.ts'
import { newBody, type Row } from './store.ts'

/** How much of a message a reply to it shows. */
const quoteLength = 160

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

/** A message of the server as it is kept: what it says, or why that cannot be read. */
export function rowOf(m: Received, user: string, said: Said, note: string): Row {
  const mine = m.from === user
  const peer = isGroup(m.to) || mine ? m.to : m.from
  const row: Row = { key: m.id, peer, mine, from: m.from, order: sortKeyOfId(m.id), at: m.at, id: m.id, place: m.place, stage: m.content ? 'done' : 'failed', ends: 0, body: newBody({}) }
  const change = changeOf(m)
  if (change) return { ...row, body: newBody({ kind: 'newer', change }) }
  const file = said.kind === 'file' && m.content ? fileOf(m.content) : null
  const { kind, target, seconds } = said
  row.ends = endOf({ id: m.id, expires: m.expires, body: said })
  row.body = newBody({ kind, target, seconds, text: file ? (file.text ?? '') : said.text, note, file })
  if (m.content && !note && (kind === 'newer' || (kind === 'file' && !file))) row.body.note = 'This takes a newer version of this page.'
  return row
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

/** Reports whether a row changes a message and is none to show by itself. */
export function isChange(row: Row): boolean {
  return changes(row.body)
}

/** Reports whether what a row says holds: the server has it, or is about to. */
export function holds({ id, stage }: Row): boolean {
  return id !== '' && (stage === 'outbox' || stage === 'done')
}

/** Has a row change a message, by the rules of the SDK, and reports whether that is to be shown otherwise now. */
export function changeBy(row: Row, change: Row): boolean {
  const { kind, text, target, seconds, edited, deleted, reactions } = row.body
  const item: Item = { id: row.id, from: row.from, expires: 0, body: { kind, text, target, seconds }, edited, deleted, reactions }
  if (change.peer !== row.peer || !apply(item, change.id, change.from, bodyOf(change.body.kind, { text: change.body.text, target: row.id }))) return false
  Object.assign(row.body, item.body, { edited: item.edited, deleted: item.deleted, reactions: item.reactions })
  if (item.deleted) Object.assign(row.body, { file: null, note: '' })
  return true
}

/** Takes over what has changed a message since a row of it was read. */
export function carry(row: Row, kept: Row): void {
  const { text, edited, deleted, reactions } = kept.body
  if (kept.place > row.place) row.place = kept.place
  row.body.reactions = reactions
  if (deleted) row.body = newBody({ kind: 'newer', deleted })
  else if (edited) Object.assign(row.body, { text, edited })
}

/** A message as the page shows it, with what it replies to, and with changes by the user that are not sent yet. */
export function viewOf({ key, peer, mine, from, order, at, stage, place, id, body }: Row, quoted: Row | null = null, waiting: Row[] = []): Message {
  const { note, file, change, target, deleted } = body
  const seen = stage === 'failed' ? stage : stage === 'done' ? (mine ? 'sent' : 'received') : 'waiting'
  const picture = file && { name: file.name, type: file.type, size: file.size, thumbnail: file.thumbnail ? bytesOfBase64(file.thumbnail) : null }
  const view: Message = {
    key, peer, mine, from, order, at, stage: seen, place, id, text: body.text, note, file: picture, change, deleted,
    reply: target && !deleted ? quoteOf(target, quoted) : null,
    edited: body.edited !== null,
    reactions: body.reactions.filter((each) => each.text !== '').map(({ user, text }) => ({ user, text })),
    timer: body.kind === 'timer' ? body.seconds : null,
    changing: waiting.length > 0,
    sending: stage === 'waiting' && file !== null && !file.blob,
  }
  for (const { from: user, body: { kind, text } } of waiting) {
    if (kind === 'edit') Object.assign(view, { text, edited: true })
    else if (kind === 'delete') Object.assign(view, { text: '', file: null, reply: null, reactions: [], deleted: true })
    else view.reactions = [...view.reactions.filter((each) => each.user !== user), ...(text ? [{ user, text }] : [])]
  }
  return view
}

function quoteOf(id: string, quoted: Row | null): Quote {
  if (!quoted || quoted.body.deleted) return { id, from: '', text: '' }
  const { text, file, note } = quoted.body
  return { id, from: quoted.from, text: (text || (file ? 'Picture' : note)).slice(0, quoteLength) }
}
