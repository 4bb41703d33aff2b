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

/** How far a message of the user's has come, for eyes and ears. */
export function tick(message: Message, chat: Chat): HTMLElement {
  const now = tickOf(message, chat)
  const element = make('span', `tick ${now}`, symbol(symbols[now]))
  element.setAttribute('role', 'img')
  element.setAttribute('aria-label', words[now])
  element.title = words[now]
  return element
}
