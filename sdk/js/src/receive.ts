import type { Core } from './core.ts'
import { ChatError } from './errors.ts'
import type { ClientEvent, HistoryPage, Message } from './events.ts'
import { parseChange } from './group.ts'
import { nodeOfId } from './id.ts'
import { judgeLink } from './inbox.ts'
import { isGroup } from './options.ts'
import { refusalWaitMs } from './pace.ts'
import type { Packet, PacketFields } from './schema.ts'
import { behind, protocolBroken, type Session } from './session.ts'
import { suiteGroup } from './suites.ts'

/** Takes in a packet of the server. What it throws ends the session. */
export function take(s: Session, p: Packet): void {
  const { core } = s
  if (!s.welcomed && p.type !== 'welcome' && p.type !== 'bye' && p.type !== 'error') throw protocolBroken('something came before the welcome')
  switch (p.type) {
    case 'welcome':
      return s.welcome(p)
    case 'accepted':
      return onAccepted(s, p)
    case 'refused':
      return onRefused(s, p)
    case 'outcome':
      return onOutcome(core, p)
    case 'message':
      return onMessage(s, p)
    case 'group_message':
      return onGroupMessage(s, p)
    case 'copy':
      return onCopy(s, p)
    case 'receipt':
      return onReceipt(s, p)
    case 'caught_up':
    case 'truncated':
      return onJump(s, p.pos, { type: p.type, position: p.pos })
    case 'typing_from':
      return core.inbox.tell({ type: 'typing', peer: p.peer, on: p.on })
    case 'presence':
      return onPresence(s, p)
    case 'history_page':
      return onHistoryPage(core, p)
    case 'chats_page':
      return onChatsPage(core, p)
    case 'group_page':
      core.answer(p.req, { group: p.group, info: p.info ?? new Uint8Array(), members: p.members, more: p.more, place: p.place })
      return
    case 'keys_stored':
    case 'keys':
    case 'keys_claimed':
    case 'devices':
      core.answer(p.req, p)
      return
    case 'keys_low':
      core.keysLow?.()
      return
    case 'done':
      core.answer(p.req, null)
      return
    case 'refreshed':
      return s.expires(p.expires)
    case 'pong':
      return core.correct(p.now)
    case 'error':
      return onError(s, p)
    case 'bye':
      return s.bye(p)
  }
}

function onAccepted(s: Session, a: PacketFields<'accepted'>): void {
  const { core } = s
  if (!core.outbox.accepted(a.n, a.count, a.pos, (item, place) => core.durable(item, place))) {
    throw protocolBroken('it accepted sends that were not made')
  }
  core.changed.fire()
  s.wake()
  s.answered()
}

function onRefused(s: Session, r: PacketFields<'refused'>): void {
  const { core } = s
  const { outbox, settings } = core
  const error = new ChatError(r.code, r.text, Number(r.retry))
  if (error.action === 'reconnect' || error.action === 'login') throw error
  if (error.action === 'stop') {
    const item = outbox.refused(r.n, true)
    if (item) core.reject(item, error)
    core.changed.fire()
  } else if (outbox.refused(r.n, false)) {
    const wait = refusalWaitMs(error.retryAfterMs, outbox.refusals++, settings.backoffMinMs, settings.backoffMaxMs)
    outbox.notBefore = performance.now() + wait
  }
  s.wake()
  s.answered()
}

function onOutcome(core: Core, o: PacketFields<'outcome'>): void {
  if (o.code === 0) return core.outcome(o.id, o.place)
  const error = new ChatError(o.code, `the server had taken message ${o.id}, and could not store it`)
  core.outcome(o.id, 0n, error)
  core.inbox.tell({ type: 'problem', id: o.id, error })
}

/** Reports whether a link of the chain is to be taken. Throws a gap: only a new session from ours on can mend it. */
function isNext(s: Session, pos: bigint, gap: bigint): boolean {
  const { inbox } = s.core
  reaches(s, pos)
  if (inbox.behind) return false
  const verdict = judgeLink(inbox.mine, pos, gap)
  if (verdict === 'gap') throw new ChatError('unavailable', `the chain has a gap after ${inbox.mine}, before ${pos}; it is asked for again`)
  return verdict === 'take'
}

/** Takes in how far the server has sent the chain, and writes the marks that wait for that. */
function reaches(s: Session, pos: bigint): void {
  if (pos > s.reach) s.reach = pos
  if (s.unsentReads.size > 0 || s.core.inbox.kept > s.marked) s.wake()
}

/**
 * Counts a message or copy. A client that takes no messages marks nothing, so that the server's window closes in the end:
 * then it comes back with a new one.
 */
function took(s: Session): void {
  s.links++
  if (s.core.inbox.sendOnly && s.window > 0 && s.links >= s.window) throw behind
}

function onMessage(s: Session, m: PacketFields<'message'>): void {
  if (!isNext(s, m.pos, m.gap)) return
  const message = s.core.messageOf({ ...m, place: m.pos }, m.from)
  message.to = s.core.settings.user
  s.core.inbox.take({ pos: m.pos, durable: true, event: eventOf(message) })
  news(s, m.from)
  took(s)
}

/** What a message to the user is for the app; null: nothing. */
function eventOf(message: Message): ClientEvent | null {
  const { suite, from, to, content, place } = message
  if (suite !== suiteGroup || from !== to) return { type: 'message', message }
  try {
    const { users, verb } = parseChange(content!)
    return { type: 'blocks', users, blocked: verb === 'add', at: place }
  } catch {
    return null // of a later version
  }
}

function onGroupMessage(s: Session, m: PacketFields<'group_message'>): void {
  if (!isNext(s, m.pos, m.gap)) return
  const message = s.core.messageOf(m, m.from)
  message.to = m.group
  s.core.inbox.take({ pos: m.pos, durable: true, event: { type: 'group_message', message } })
  took(s)
}

function onCopy(s: Session, m: PacketFields<'copy'>): void {
  if (!isNext(s, m.pos, m.gap)) return
  const { core } = s
  const message: Message = core.messageOf({ ...m, from: core.settings.user }, m.to)
  const ours = nodeOfId(message.id) === core.node // what this device sent, the app knows
  if (ours) core.outcome(m.id, m.place)
  core.inbox.take({ pos: m.pos, durable: true, event: ours && !(core.ownInGroups && isGroup(m.to)) ? null : { type: 'copy', message } })
  news(s, m.to)
  took(s)
}

function onReceipt(s: Session, r: PacketFields<'receipt'>): void {
  const { inbox } = s.core
  const event: ClientEvent = { type: 'receipt', peer: r.peer, delivered: r.delivered, read: r.read }
  const peer = s.core.peer(r.peer)
  if (r.pos === 0n) {
    if (peer.advance(r.delivered, r.read)) inbox.tell(event) // of catch-up: no link
    return
  }
  const next = isNext(s, r.pos, r.gap)
  peer.advance(r.delivered, r.read) // true wherever it stands
  if (!next) return
  inbox.take({ pos: r.pos, durable: false, event })
  news(s, r.peer)
}

/** Moves the chain on to where the server says that nothing is before any more, which is not back. */
function onJump(s: Session, pos: bigint, event: ClientEvent): void {
  const { inbox } = s.core
  if (!inbox.behind) inbox.take({ pos: pos > inbox.mine ? pos : inbox.mine, durable: false, event })
  reaches(s, pos)
}

function onPresence(s: Session, p: PacketFields<'presence'>): void {
  for (const [req, { user }] of s.watching) if (user === p.peer) s.watching.delete(req)
  s.core.inbox.tell({ type: 'presence', peer: p.peer, online: p.online, seen: Number(p.seen) })
  s.wake() // another watch may go
}

function onHistoryPage(core: Core, p: PacketFields<'history_page'>): void {
  const { peer, more, delivered, read } = p
  core.peer(peer).advance(delivered, read)
  const messages = p.rows.map((row) => core.messageOf(row, peer))
  const next = more ? (p.next ?? messages.at(-1)?.id ?? null) : null
  core.answer(p.req, { peer, more, delivered, read, messages, next } satisfies HistoryPage)
}

function onChatsPage(core: Core, p: PacketFields<'chats_page'>): void {
  for (const { peer, delivered, read } of p.chats) core.peer(peer).advance(delivered, read)
  core.answer(p.req, { more: p.more, chats: p.chats.map((chat) => ({ ...chat, last: core.messageOf(chat.last, chat.peer) })) })
}

function onError(s: Session, p: PacketFields<'error'>): void {
  const { core } = s
  const error = new ChatError(p.code, p.text, Number(p.retry))
  if (!s.welcomed) {
    s.said = error
    return
  }
  const watch = s.watching.get(p.req)
  s.watching.delete(p.req)
  const retry = error.action === 'retry'
  if (core.answer(p.req, null, error)) return
  if (p.req === 0n && error.codeName === 'expired') void s.refresh() // the token's end comes near
  else if (watch && retry) {
    s.unwatched.add(watch.user)
    calm(s, error.retryAfterMs)
  } else if (watch?.news && error.codeName === 'forbidden') {
    s.unwatched.add(watch.user)
    s.wake()
  } else if (p.req === 0n && retry) {
    for (const peer of core.reads.keys()) s.unsentReads.add(peer) // one of them may be what the server was too busy for
    calm(s, error.retryAfterMs)
  } else {
    if (watch && error.codeName === 'forbidden') s.strangers.add(watch.user)
    core.inbox.tell({ type: 'problem', id: null, error })
  }
}

/** Asks for a user's presence again where there was no chat for it. */
function news(s: Session, user: string): void {
  for (const watch of s.watching.values()) if (watch.user === user) watch.news = true
  if (!s.strangers.delete(user)) return
  s.unwatched.add(user)
  s.wake()
}

/** Asks for read marks and watches again after a while. */
function calm(s: Session, afterMs: number): void {
  s.calmUntil = performance.now() + Math.max(afterMs, s.core.settings.backoffMinMs)
  s.wake()
}
