import type { ChatsPage, HistoryPage, Message, Position } from './events.ts'
import type { MessageId } from './id.ts'
import { suiteGroup, suiteKeyShare } from './suites.ts'

/** Up to where {@link Unread} counts in a chat: of more it is "more than". */
export const maxUnread = 999

/** Where chats and history come from: a client. */
export interface UnreadSource {
  /** Pages of chats. */
  chats(before: MessageId | null, limit: number, signal?: AbortSignal): Promise<ChatsPage>
  /** Pages of messages, without those that do not count. */
  history(peer: string, before: MessageId | null, limit: number, signal?: AbortSignal): Promise<HistoryPage>
}

/**
 * Counts what the user has not been shown, by chat, from two watermarks: how far the user has read a chat, and the places of what
 * came above it. {@link Unread.load} fills it in after a start, and again where another device of the user may have read something;
 * between, the app gives it each message and each `markRead`.
 */
export class Unread {
  readonly #user: string
  readonly #chats = new Map<string, { read: Position; above: Position[] }>()

  /** @param user - whose */
  constructor(user: string) {
    this.#user = user
  }

  #of(peer: string): { read: Position; above: Position[] } {
    let chat = this.#chats.get(peer)
    if (!chat) this.#chats.set(peer, (chat = { read: 0n, above: [] }))
    return chat
  }

  /**
   * Counts a message that came, unless the user has sent it, has read further, or it has been counted. Give only what the user is
   * to read: of encrypted chats what `counts` says of its body.
   */
  put(message: Pick<Message, 'from' | 'to' | 'place' | 'suite'>): void {
    const { from, to, place, suite } = message
    if (from === this.#user || suite === suiteKeyShare || suite === suiteGroup) return
    const chat = this.#of(to.startsWith(':') ? to : from)
    if (place <= chat.read || chat.above.includes(place)) return
    const at = chat.above.findIndex((each) => each > place)
    chat.above.splice(at < 0 ? chat.above.length : at, 0, place)
    if (chat.above.length > maxUnread + 1) chat.above.shift()
  }

  /** Says up to where the user has read a chat: what `markRead` was told, or a chat's `mine`. It never goes back. */
  read(peer: string, upTo: Position): void {
    const chat = this.#of(peer)
    if (upTo > chat.read) chat.read = upTo
    chat.above = chat.above.filter((place) => place > chat.read)
  }

  /** How many messages of a chat are unread: {@link maxUnread} + 1 for more than that. */
  count(peer: string): number {
    return this.#chats.get(peer)?.above.length ?? 0
  }

  /** The chats that have something unread, in order of name. */
  get chats(): string[] {
    return [...this.#chats].filter(([, chat]) => chat.above.length > 0).map(([peer]) => peer).sort()
  }

  /**
   * Asks how far the user has read each of so many chats, the newest first, and counts what lies above it. A chat whose newest message
   * has been read costs nothing more than its row; others a page of history for a hundred messages.
   */
  async load(source: UnreadSource, limit: number, signal?: AbortSignal): Promise<void> {
    let before: MessageId | null = null
    while (limit > 0) {
      const page = await source.chats(before, limit, signal)
      for (const { peer, mine, last } of page.chats) {
        before = last.id
        this.read(peer, mine)
        if (last.from === this.#user || last.place > mine) await this.#count(source, peer, mine, signal)
      }
      limit -= page.chats.length
      if (!page.more || page.chats.length === 0) return
    }
  }

  /** Counts back to what has been read. */
  async #count(source: UnreadSource, peer: string, read: Position, signal?: AbortSignal): Promise<void> {
    let before: MessageId | null = null
    while (this.count(peer) <= maxUnread) {
      const page: HistoryPage = await source.history(peer, before, 0, signal)
      for (const m of page.messages) {
        if (m.from !== this.#user && m.place <= read) return
        this.put(m)
      }
      before = page.next
      if (!before) return
    }
  }
}
