import type { Message } from '../events.ts'
import type { EncryptionError } from './errors.ts'

/**
 * The server names another identity for a user than this device has known: they installed anew, or somebody stands in
 * between. Nothing is sent to them until {@link Client.accept}, unless `acceptChanges` is set.
 */
export interface IdentityChangedEvent {
  /** Which event this is. */
  type: 'identity_changed'
  /** Whose. */
  user: string
  /** It goes on, as `acceptChanges` is set. */
  accepted: boolean
}

/** Keys that the server named for a user were not used, as they are weak or not signed as they have to be. */
export interface BadKeysEvent {
  /** Which event this is. */
  type: 'bad_keys'
  /** Whose. */
  user: string
  /** Of which device; empty: the identity. */
  device: string
  /** Why. */
  error: Error
}

/** A message that cannot be shown. Its content is null. */
export interface FailedEvent {
  /** Which event this is. */
  type: 'failed'
  /** The message. */
  message: Message
  /** Another device of this user sent it. */
  copy: boolean
  /** Why: {@link EncryptionError}. */
  error: EncryptionError | Error
}

/** A message of another type than a body, such as a later version's. */
export interface TypedEvent {
  /** Which event this is. */
  type: 'typed'
  /** The message. */
  message: Message
  /** Another device of this user sent it. */
  copy: boolean
  /** Its type. */
  kind: number
}

/** A device gave a code of {@link Client.offerLink}. */
export interface LinkUsedEvent {
  /** Which event this is. */
  type: 'link_used'
  /** Which device. */
  device: string
  /** Null: it has the user's identity now; if it is none of the user's, remove it and reset the identity. Else why it was refused. */
  error: Error | null
}

/** History was handed over, whole: by the device that linked this one; or to one that was linked, which is told with the next event. */
export interface LinkedHistoryEvent {
  /** Which event this is. */
  type: 'linked_history'
  /** The other device. */
  device: string
  /** This device gave it. */
  given: boolean
  /** By each of them some hundred messages are read. */
  sessions: number
  /** Why there is none, or not all: {@link EncryptionError} `no_history` where it was left out. Null: all is there. */
  error: Error | null
}

/** A group's name and picture, as one of its admins gave it, end to end. */
export interface GroupInfo {
  /** At most 256 bytes. */
  name: string
  /** Small: it is within a message. */
  picture: Uint8Array | null
}

/** A member of a group as this device knows it. */
export interface GroupMember {
  /** Who. */
  user: string
  /** May change the group. */
  admin: boolean
  /** What is sent is for them too. */
  keys: boolean
}

/** An admin gave a group its name and picture. */
export interface GroupNamedEvent {
  /** Which event this is. */
  type: 'group_named'
  /** The message that says so. */
  message: Message
  /** What it is now. */
  info: GroupInfo
}

/**
 * The server's list of a group has somebody whose joining the chat has not shown: it does not tell everybody the same.
 * Nothing is encrypted for them, unless `reads` is set.
 */
export interface UnannouncedEvent {
  /** Which event this is. */
  type: 'unannounced'
  /** The group. */
  group: string
  /** Who. */
  user: string
  /** This device missed changes, away for longer than the server keeps them or no member: so the list counts, and what is sent is for them. */
  reads: boolean
}

/** For whom of a group a session is not: members without keys, and such whose identity has changed and is not accepted. */
export interface LeftOutEvent {
  /** Which event this is. */
  type: 'left_out'
  /** The group. */
  group: string
  /** Who. */
  users: string[]
}
