import type { Member } from '../../../sdk/js/src/index.ts'
import type { Chat, Message } from '../talk.ts'
import { make, symbol } from './dom.ts'

type Tick = 'waiting' | 'sent' | 'delivered' | 'read' | 'failed'

const symbols: Record<Tick, string> = { waiting: 'clock', sent: 'one-tick', delivered: 'two-ticks', read: 'two-ticks', failed: 'cross' }
const words: Record<Tick, string> = { waiting: 'waiting', sent: 'sent', delivered: 'delivered', read: 'read', failed: 'not sent' }

function tickOf(message: Message, chat: Chat): Tick {
  if (message.stage === 'waiting' || message.stage === 'failed') return message.stage
  if (message.place === 0n) return 'sent'
  if (message.place <= chat.read) return 'read'
  return message.place <= chat.delivered ? 'delivered' : 'sent'
}

/** How far a message to a group has come: with all, or with how many of those who are to have it. */
function countsOf(message: Message, now: Tick, members: readonly Member[]): string {
  const others = members.filter(({ user, since }) => user !== message.from && since <= message.place)
  const some = (has: (m: Member) => boolean, all: boolean) => {
    const n = others.filter(has).length
    return all || (n > 0 && n === others.length) ? 'all' : n > 0 ? `${n} of ${others.length}` : ''
  }
  const delivered = some((m) => message.place <= m.delivered, now === 'delivered' || now === 'read')
  const read = some((m) => message.place <= m.read, now === 'read')
  if (!delivered) return words.sent
  return read ? `delivered to ${delivered}, read by ${read}` : `delivered to ${delivered}`
}

/** Reports whether nothing more is to be heard of a message of the user's. */
export function isThrough(message: Message, chat: Chat): boolean {
  const now = tickOf(message, chat)
  return now === 'read' || now === 'failed'
}

/** How far a message of the user's has come, for eyes and ears; members are those of its group. */
export function tick(message: Message, chat: Chat, members: readonly Member[] = []): HTMLElement {
  const now = tickOf(message, chat)
  const said = chat.group && message.place > 0n && now !== 'failed' ? countsOf(message, now, members) : words[now]
  const element = make('span', `tick ${now}`, symbol(symbols[now]))
  element.setAttribute('role', 'img')
  element.setAttribute('aria-label', said)
  element.title = said
  return element
}

/** What eyes are told beside the tick: how many have read it, while that is not all. */
export function readBy(message: Message, chat: Chat, members: readonly Member[]): string {
  if (!chat.group || message.place === 0n || isThrough(message, chat)) return ''
  const n = members.filter(({ user, since, read }) => user !== message.from && since <= message.place && message.place <= read).length
  return n > 0 ? `read by ${n}` : ''
}
