import { ChatError, type Client, type MessageId } from '../../../sdk/js/src/index.ts'
import type { ChatRow } from './store.ts'

/** What is needed of who blocks. */
export interface Blocker {
  /** null: none now. */
  readonly client: Client | null
  /** The chats that there are. */
  readonly chats: ReadonlyMap<string, ChatRow>
  chat(peer: string): ChatRow
  keep(chat: ChatRow): Promise<void>
}

/** Whom the user has blocked: shown at once, told to the server when there is a connection, and taken back where it refuses. */
export class Blocks {
  readonly #blocker: Blocker
  #users: ReadonlySet<string> = new Set()
  /** What the server was told and may still refuse. */
  readonly #told = new Map<MessageId, { peer: string; blocked: boolean }>()

  constructor(blocker: Blocker) {
    this.#blocker = blocker
  }

  has(user: string): boolean {
    return this.#users.has(user)
  }

  /** Blocks a user, or takes that back. */
  async want(peer: string, blocked: boolean): Promise<void> {
    const { client, chat, keep } = this.#blocker
    const row = Object.assign(chat(peer), { untold: true, blockFault: '' })
    this.#set(peer, blocked)
    await keep(Object.assign(row, { blocked }))
    if (client) void this.#tell(client, row)
  }

  /** Tells the server over a new connection what it does not know yet. */
  resume(client: Client): void {
    for (const chat of this.#blocker.chats.values()) if (chat.untold) void this.#tell(client, chat)
  }

  /** Asks the server whom the user has blocked. */
  async look(client: Client): Promise<void> {
    try {
      this.#users = new Set(await client.blocked())
    } catch (err) {
      if (!(err instanceof ChatError && err.codeName === 'bad_name')) throw err // the server has no blocking
      this.#users = new Set()
    }
    for (const { peer, untold, blocked } of [...this.#blocker.chats.values()]) await this.#become(peer, untold ? blocked : this.#users.has(peer))
  }

  /** Takes in a change that the server made, of this browser or another device. */
  async made(users: string[], blocked: boolean): Promise<void> {
    for (const [id, { peer }] of this.#told) if (users.includes(peer)) this.#told.delete(id)
    for (const user of users) if (!this.#blocker.chats.get(user)?.untold) await this.#become(user, blocked)
  }

  /** Takes in that the server has not made a change that it had taken. */
  async refused(client: Client, id: MessageId, error: Error): Promise<void> {
    const told = this.#told.get(id)
    this.#told.delete(id)
    if (told) await this.#undo(told.peer, told.blocked, error)
    await this.look(client).catch(() => {}) // the next connection looks
  }

  /** Where the server does not get to know of it, the next connection tells it again. */
  async #tell(client: Client, chat: ChatRow): Promise<void> {
    const { peer, blocked } = chat
    let fault: ChatError | null = null
    try {
      const sent = await (blocked ? client.block([peer]) : client.unblock([peer]))
      this.#told.set(sent.id, { peer, blocked })
      await sent.durable()
    } catch (err) {
      if (!(err instanceof ChatError && err.action === 'stop')) return
      fault = err
    }
    if (chat.blocked !== blocked) return // the user has changed it again, which is told by itself
    chat.untold = false
    await this.#blocker.keep(chat)
    if (!fault) return
    await this.#undo(peer, blocked, fault)
    await this.look(client).catch(() => {})
  }

  /** It is as before, and the user is told why. */
  async #undo(peer: string, blocked: boolean, error: Error): Promise<void> {
    const chat = this.#blocker.chat(peer)
    if (chat.untold || chat.blocked !== blocked) return // the user has changed it again
    this.#set(peer, !blocked)
    await this.#blocker.keep(Object.assign(chat, { blocked: !blocked, blockFault: faultOf(peer, blocked, error) }))
  }

  async #become(user: string, blocked: boolean): Promise<void> {
    this.#set(user, blocked)
    const chat = this.#blocker.chats.get(user)
    if (chat && chat.blocked !== blocked) await this.#blocker.keep(Object.assign(chat, { blocked, blockFault: '' }))
  }

  #set(user: string, blocked: boolean): void {
    const others = [...this.#users].filter((each) => each !== user)
    this.#users = new Set(blocked ? [...others, user] : others)
  }
}

function faultOf(peer: string, blocked: boolean, error: Error): string {
  if (!blocked) return `${peer} is still blocked: ${error.message}`
  if (error instanceof ChatError && error.codeName === 'too_many') return `${peer} is not blocked: you have blocked as many as the server lets you. Unblock somebody first.`
  return `${peer} is not blocked: ${error.message}`
}
