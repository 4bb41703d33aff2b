import { ChatError } from './errors.ts'
import { encodeChange, type GroupPage, groupOf, type Verb } from './group.ts'
import type { MessageId } from './id.ts'
import { isGroup } from './options.ts'
import { idOf, Outgoing, type SendOptions } from './outgoing.ts'
import type { Sent } from './sent.ts'
import { suiteGroup } from './suites.ts'

/** A client's groups, and whom its user has blocked, which is kept like a group. {@link PlainClient} is all of it. */
export abstract class GroupClient extends Outgoing {
  /**
   * Makes a group with the user as its admin and others as members, and returns its name, which stands wherever a user's does.
   * info is its name and picture: the server does not read it, so encrypt it. Whether the group was made tells what is
   * returned, as with {@link PlainClient.send}. An id makes the name too: {@link groupOf}.
   */
  async createGroup(
    info: Uint8Array | null,
    users: string[],
    options: Pick<SendOptions, 'id'> = {},
    signal?: AbortSignal,
  ): Promise<{ group: string; sent: Sent }> {
    const id = idOf(options) ?? (await this.newId(signal))
    const group = groupOf(id)
    return { group, sent: await this.#change(group, 'create', users, info, id, signal) }
  }

  /**
   * Changes a group: its members or admins. The change is a message to the group, which all members get. Whether the group
   * took it is judged at its place: where it did not, a problem event says why, as does {@link Sent.error}: `not_member`,
   * `not_admin`, `group_full` or `bad_change`.
   */
  async changeGroup(
    group: string,
    verb: Exclude<Verb, 'create' | 'info'>,
    users: string[] = [],
    options: Pick<SendOptions, 'id'> = {},
    signal?: AbortSignal,
  ): Promise<Sent> {
    return this.#change(group, verb, users, null, idOf(options), signal)
  }

  /** Replaces a group's name and picture; null takes them away. */
  async setGroupInfo(group: string, info: Uint8Array | null, options: Pick<SendOptions, 'id'> = {}, signal?: AbortSignal): Promise<Sent> {
    return this.#change(group, 'info', [], info, idOf(options), signal)
  }

  async #change(group: string, verb: Verb, users: string[], info: Uint8Array | null, id: MessageId | null, signal?: AbortSignal): Promise<Sent> {
    if (!isGroup(group)) throw new ChatError('bad_name', `${JSON.stringify(group)} is not the name of a group`)
    const content = encodeChange({ verb, users, info: info ?? new Uint8Array() })
    return this.sendSealed({ n: 0n, id, to: group, suite: suiteGroup, content, flags: 0, ttl: 0, media: '' }, null, signal)
  }

  /**
   * Returns a group and up to limit of its members with names beyond one; '' is before all, and 0 as many as the server gives
   * at once. Only members get an answer; else {@link ChatError} `forbidden`.
   */
  async group(group: string, beyond = '', limit = 0, signal?: AbortSignal): Promise<GroupPage> {
    if (!isGroup(group)) throw new ChatError('bad_name', `${JSON.stringify(group)} is not the name of a group`)
    return this.ask<GroupPage, 'group_get'>('group_get', { group, beyond, limit }, 'group_members', signal)
  }

  /**
   * Blocks users: from its place on nothing that they send to this user comes, and they learn nothing of it; their messages stay at
   * one tick, and they see neither presence nor receipts. Groups are another matter. It is a message to oneself, and what is
   * returned tells of it as with {@link PlainClient.send}: it waits in the outbox, and all devices of the user get `blocks`. One that
   * the server does not make becomes a problem: `too_many` over its limit. Throws {@link ChatError} `bad_name` for what is no user's
   * name.
   */
  async block(users: string[], signal?: AbortSignal): Promise<Sent> {
    return this.#changeBlocks('add', users, signal)
  }

  /** Takes {@link PlainClient.block} back. What they sent meanwhile does not come. */
  async unblock(users: string[], signal?: AbortSignal): Promise<Sent> {
    return this.#changeBlocks('remove', users, signal)
  }

  async #changeBlocks(verb: 'add' | 'remove', users: string[], signal?: AbortSignal): Promise<Sent> {
    const content = encodeChange({ verb, users, info: new Uint8Array() })
    const { user } = this.core.settings
    return this.sendSealed({ n: 0n, id: null, to: user, suite: suiteGroup, content, flags: 0, ttl: 0, media: '' }, null, signal)
  }

  /** Returns whom the user has blocked, in order of their names. Throws {@link ChatError} `bad_name` for a server where nobody blocks. */
  async blocked(signal?: AbortSignal): Promise<string[]> {
    const users: string[] = []
    for (;;) {
      const question = { group: this.core.settings.user, beyond: users.at(-1) ?? '', limit: 0 }
      const page = await this.ask<GroupPage, 'group_get'>('group_get', question, 'group_members', signal)
      users.push(...page.members.map((member) => member.user))
      if (!page.more || page.members.length === 0) return users
    }
  }
}
