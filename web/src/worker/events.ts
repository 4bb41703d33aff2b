import {
  type Body, ChatError, type Client, EncryptionError, type EncryptedEvent, type GroupInfo, isGroup, type Message as Received, saidOf, suiteKeyShare,
} from '../../../sdk/js/src/index.ts'
import type { Change, News, State } from '../talk.ts'
import type { CatchUp, Late } from './catchup.ts'
import type { Devices } from './devices.ts'
import { nameOf } from './groups.ts'
import { nothingSaid } from './history.ts'
import type { GroupPictures } from './pictures.ts'
import { rowOf } from './rows.ts'
import type { Sender } from './sender.ts'
import { type ChatRow, newBody, type Row } from './store.ts'

/** What is needed of who is told. */
export interface Told extends Late {
  readonly user: string
  readonly catchUp: CatchUp
  readonly sender: Sender
  readonly pictures: GroupPictures
  readonly devices: Devices
  keep(chat: ChatRow, ...rows: Row[]): Promise<void>
  tellChat(chat: ChatRow): void
  tell(news: News): void
  /** Tokens of before are good no more. */
  loggedOut(): void
}

/** Takes in what happens over the connection. What an event says is kept when it has been taken, so that the next one may be asked for. */
export class Events {
  readonly #told: Told

  constructor(told: Told) {
    this.#told = told
  }

  async take(client: Client, event: EncryptedEvent): Promise<void> {
    const { catchUp, sender, blocks, history, devices, chats, chat: chatOf, keep, tell } = this.#told
    switch (event.type) {
      case 'connected':
        this.#state('online')
        tell({ type: 'longest', seconds: client.maxTtlSeconds })
        catchUp.connected(client)
        sender.pumpAll()
        for (const chat of chats.values()) if (chat.timer > client.maxTtlSeconds) this.#told.tellChat(chat)
        return
      case 'disconnected':
        if (event.error instanceof ChatError && event.error.action === 'login') this.#told.loggedOut() // another device of the user's was revoked
        return this.#state('offline', event.error.message)
      case 'message':
      case 'group_message':
      case 'copy':
      case 'typed':
        return this.#received(client, event.message, saidOf(event)?.body ?? nothingSaid, '')
      case 'group_named':
        return this.#named(event.message, event.info)
      case 'failed':
        // That keys of an identity which is not accepted are not taken is told already; what they are for is shown once it is.
        if (event.message.suite === suiteKeyShare && chats.get(event.message.from)?.changed) return
        return this.#received(client, event.message, nothingSaid, whyUnreadable(event.error))
      case 'blocks':
        return blocks.made(event.users, event.blocked)
      case 'left_out':
        return keep(Object.assign(chatOf(event.group), { leftOut: event.users }))
      case 'unannounced': {
        const chat = chatOf(event.group)
        const list = event.reads ? 'unseen' : 'unannounced'
        chat[list] = [...new Set([...chat[list], event.user])]
        return keep(chat)
      }
      case 'receipt': {
        if (!chats.has(event.peer)) return // of keys for members of a group; they make no chat
        catchUp.watch(client, event.peer)
        return this.#told.advance(chatOf(event.peer), event.delivered, event.read)
      }
      case 'caught_up':
        return catchUp.caughtUp(client)
      case 'truncated':
        return history.doubt()
      case 'typing':
        return tell({ type: 'typing', peer: event.peer, on: event.on })
      case 'presence':
        tell({ type: 'presence', peer: event.peer, online: event.online, seen: event.seen })
        if (event.online) void sender.pump(event.peer)
        return
      case 'identity_changed':
        return keep(Object.assign(chatOf(event.user), { changed: true }))
      case 'link_used':
        return devices.used(event)
      case 'linked_history':
        void devices.handed(client, event) // it asks the server, whose answers do not wait for this
        return
      case 'problem':
        return this.#problem(client, event.id, event.error)
    }
  }

  async #received(client: Client, m: Received, said: Body, note: string): Promise<void> {
    const { user, store, catchUp, groups, sender, unreads, chat: chatOf, keep } = this.#told
    const row = rowOf(m, user, said, note)
    const known = await store.byId(m.id)
    if (known && known.stage !== 'failed') return
    const chat = chatOf(row.peer)
    unreads.count(chat, row)
    const { change } = row.body
    chat.leftOut = chat.leftOut.filter((user) => user !== row.from) // who writes has keys
    if (change?.verb === 'add') chat.unannounced = chat.unannounced.filter((user) => !change.users.includes(user))
    await keep(chat, row)
    catchUp.watch(client, row.peer)
    if (isGroup(row.peer) && (change || chat.others.length === 0)) void groups.look(client, row.peer)
    void sender.pump(row.peer)
  }

  /** An admin gave a group its name and picture: for who was there before they may be those that it has. */
  async #named(m: Received, info: GroupInfo): Promise<void> {
    const chat = this.#told.chat(m.to)
    const [name, picture] = [nameOf(info.name), info.picture]
    const pictured = await this.#told.pictures.take(m.to, picture)
    const change: Change = { verb: 'info', users: [], name }
    if (name === chat.name) change.picture = picture ? 'set' : 'removed'
    if (name === chat.name && !pictured) return
    chat.name = name
    await this.#told.keep(chat, { ...rowOf(m, this.#told.user, nothingSaid, ''), body: newBody({ kind: 'newer', change }) })
  }

  async #problem(client: Client, id: string | null, error: Error): Promise<void> {
    if (isElsewhere(error)) return this.#state('elsewhere')
    const row = id && (await this.#told.store.byId(id))
    if (row) await this.#told.sender.refused(client, row, error)
    else if (id) await this.#told.blocks.refused(client, id, error) // all else that has an id is a change of whom the user has blocked
  }

  #state(state: State, text = ''): void {
    this.#told.tell({ type: 'state', state, text })
  }
}

function isElsewhere(err: unknown): boolean {
  return (err instanceof EncryptionError && err.reason === 'own_identity') || (err instanceof ChatError && err.codeName === 'other_identity')
}

function whyUnreadable(err: Error): string {
  const reason = err instanceof EncryptionError ? err.reason : ''
  if (reason === 'plain') return 'A message that was not encrypted is not shown.'
  if (reason === 'no_key') return 'This cannot be read: its key did not come.'
  return `This cannot be read: ${err.message}`
}
