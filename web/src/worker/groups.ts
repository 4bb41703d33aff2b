import { ChatError, type Client, type Member } from '../../../sdk/js/src/index.ts'
import type { Change, News } from '../talk.ts'
import type { ChatRow, Row } from './store.ts'

/** For how long, and how often, a list of members is asked for again that does not have the user's own change yet. */
const patienceMs = 10_000
const askAgainMs = 100

/** What is needed of who is in groups. */
export interface Insider {
  readonly user: string
  chat(peer: string): ChatRow
  keep(chat: ChatRow): Promise<void>
  /** A group has this picture; null: none. */
  pictured(peer: string, picture: Uint8Array | null): Promise<unknown>
  tell(news: News): void
}

/** The members of groups, as the server lists them. */
export class Groups {
  readonly #insider: Insider
  /** The newest change of the user's own of a group that its list has to have, and until when that is waited for. */
  readonly #made = new Map<string, { change: Change; until: number }>()
  readonly #looking = new Set<string>()
  readonly #again = new Set<string>()

  constructor(insider: Insider) {
    this.#insider = insider
  }

  /** The user makes a group: who is in it is not known before. */
  making(peer: string, change: Change): void {
    this.#made.set(peer, { change, until: Number.POSITIVE_INFINITY })
  }

  /** The server has the user's own change of a group. */
  changed(client: Client, { peer, body }: Row): Promise<void> {
    this.#made.set(peer, { change: body.change!, until: Date.now() + patienceMs })
    return this.look(client, peer)
  }

  /** Asks for the members of a group and tells them. What fails is asked for again when the group is looked at. */
  async look(client: Client, peer: string): Promise<void> {
    if (this.#looking.has(peer)) {
      this.#again.add(peer)
      return
    }
    this.#looking.add(peer)
    try {
      do {
        this.#again.delete(peer)
        while (!(await this.#ask(client, peer))) await new Promise((done) => setTimeout(done, askAgainMs))
      } while (this.#again.has(peer))
    } catch {
      // There is no connection any more.
    } finally {
      this.#looking.delete(peer)
    }
  }

  /** Reports whether the answer has the user's own change. */
  async #ask(client: Client, peer: string): Promise<boolean> {
    const { user, chat, keep, pictured, tell } = this.#insider
    const made = this.#made.get(peer)
    const members: Member[] = []
    try {
      for (let more = true; more; ) {
        const page = await client.group(peer, members.at(-1)?.user)
        members.push(...page.members)
        more = page.more && page.members.length > 0
      }
    } catch (err) {
      if (!(err instanceof ChatError && err.codeName === 'forbidden')) throw err
    }
    if (made && Date.now() < made.until && !isMade(made.change, members)) return false
    if (made === this.#made.get(peer)) this.#made.delete(peer)
    const row = chat(peer)
    const info = client.groupInfo(peer)
    const name = nameOf(info?.name ?? row.name)
    const others = members.map((m) => m.user).filter((each) => each !== user)
    const out = members.length === 0
    const odd = await this.#odd(client, row, others)
    if (out !== row.out || odd || (!out && (others.join() !== row.others.join() || name !== row.name))) {
      row.out = out
      if (!out) Object.assign(row, { others, name })
      await keep(row)
    }
    if (info) await pictured(peer, info.picture)
    tell({ type: 'members', peer, members })
    return true
  }

  /** Forgets who was left out and has keys now, or was not announced and is in the list no more; reports whether it was anybody. */
  async #odd(client: Client, row: ChatRow, others: string[]): Promise<boolean> {
    const count = () => row.leftOut.length + row.unannounced.length + row.unseen.length
    const before = count()
    if (before === 0) return false
    const without = (await client.groupMembers(row.peer)).filter((m) => !m.keys).map((m) => m.user)
    row.leftOut = row.leftOut.filter((user) => without.includes(user))
    row.unannounced = row.unannounced.filter((user) => others.includes(user))
    row.unseen = row.unseen.filter((user) => others.includes(user))
    return count() !== before
  }
}

/** Reports whether a list of members, which only they are given, is as a change makes it. */
function isMade({ verb, users }: Change, members: Member[]): boolean {
  const of = (user: string) => members.find((m) => m.user === user)
  switch (verb) {
    case 'leave':
      return members.length === 0
    case 'remove':
      return members.length > 0 && users.every((user) => !of(user))
    case 'admin':
      return users.every((user) => of(user)?.admin)
    case 'member':
      return members.length > 0 && users.every((user) => !of(user)?.admin)
    case 'info':
      return true // the list does not have it
  }
  return members.length > 0 && users.every((user) => of(user))
}

/** A name as others gave it, in a line. */
export function nameOf(name: string): string {
  return name.replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, ' ').trim()
}

/** At most so many names make a title. */
const namesOfTitle = 4

/** What a chat is called: after the peer, or as a group was named, or after who else is in it. */
export function titleOf({ peer, name, others }: ChatRow, group: boolean): string {
  if (!group) return peer
  if (name) return name
  if (others.length === 0) return 'Group'
  const rest = others.length - namesOfTitle
  return others.slice(0, namesOfTitle).join(', ') + (rest > 0 ? ` and ${rest} more` : '')
}
