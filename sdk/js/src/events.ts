import type { MessageId } from './id.ts'

/**
 * A place in a user's chain. Positions of one user only ever grow, and have 64 bits, so they are bigints: numbers would
 * round those of a server whose log has begun a new epoch more than 31 times. Only compare them.
 */
export type Position = bigint

/** A message, sent or received. */
export interface Message {
  /** Its id, which the sender's device made. */
  id: MessageId
  /** The sender. */
  from: string
  /** The receiver. */
  to: string
  /** Its position in the receiver's chain: what {@link PlainClient.markRead} takes of one to the user, and what receipts compare with. */
  place: Position
  /** When the server took it in, ms since 1970. */
  at: number
  /** When it ends, ms since 1970; 0 is never. */
  expires: number
  /** How the content is encrypted; 0 is not at all. */
  suite: number
  /** The content, as the sender gave it; null in history where it cannot be read. */
  content: Uint8Array | null
  /** A URL beside the content, or empty. */
  media: string
}

/** A message to the user. */
export interface MessageEvent {
  /** Which event this is. */
  type: 'message'
  /** The message. */
  message: Message
}

/** A message to a group that the user is a member of. */
export interface GroupMessageEvent {
  /** Which event this is. */
  type: 'group_message'
  /** The message; `to` is the group, and `place` is in the group's order. */
  message: Message
}

/** A message that another device of the user sent. */
export interface CopyEvent {
  /** Which event this is. */
  type: 'copy'
  /** The message. */
  message: Message
}

/**
 * How far a peer has come with what the user sent. A message sent is delivered when its place is at most `delivered`, and
 * read when it is at most `read`.
 */
export interface ReceiptEvent {
  /** Which event this is. */
  type: 'receipt'
  /** Who. */
  peer: string
  /** Up to where, in the peer's chain. */
  delivered: Position
  /** Up to where, in the peer's chain. */
  read: Position
}

/** Everything up to a position has been received: what comes after it is new. */
export interface CaughtUpEvent {
  /** Which event this is. */
  type: 'caught_up'
  /** In the user's own chain. */
  position: Position
}

/** The server no longer keeps what was for this device up to a position; history still has the messages. */
export interface TruncatedEvent {
  /** Which event this is. */
  type: 'truncated'
  /** In the user's own chain. */
  position: Position
}

/** A peer types, or stopped. Forget it after 10 s, and when a message from the peer comes. It may be lost. */
export interface TypingEvent {
  /** Which event this is. */
  type: 'typing'
  /** Who. */
  peer: string
  /** Types, or stopped. */
  on: boolean
}

/** Whether a watched user is connected. */
export interface PresenceEvent {
  /** Which event this is. */
  type: 'presence'
  /** Who. */
  peer: string
  /** Has a session. */
  online: boolean
  /** When the user was last connected, ms since 1970; 0: not known, or now. */
  seen: number
}

/** A session began. */
export interface ConnectedEvent {
  /** Which event this is. */
  type: 'connected'
  /** The session's user. */
  user: string
  /** Where the chain goes on. */
  resume: Position
  /** Entries that wait, counted up to a limit of the server. */
  waiting: number
}

/** A session ended, or could not begin. */
export interface DisconnectedEvent {
  /** Which event this is. */
  type: 'disconnected'
  /** Why. */
  error: Error
  /** When the next attempt is. */
  retryInMs: number
}

/** Something that did not work and no call is waiting for: a message refused, a watch, a content that cannot be opened. */
export interface ProblemEvent {
  /** Which event this is. */
  type: 'problem'
  /** The message's id, where it is about one. */
  id: MessageId | null
  /** Why: a {@link ChatError} of the server, or of the encryption. */
  error: Error
}

/** The user, on some device, has blocked others, or has taken that back. */
export interface BlocksEvent {
  /** Which event this is. */
  type: 'blocks'
  /** Whom. */
  users: string[]
  /** Blocked, or not any more. */
  blocked: boolean
  /** In the user's chain: what lies after it is judged by it. */
  at: Position
}

/** What {@link PlainClient.receive} returns. */
export type ClientEvent =
  | MessageEvent
  | GroupMessageEvent
  | CopyEvent
  | ReceiptEvent
  | CaughtUpEvent
  | TruncatedEvent
  | TypingEvent
  | PresenceEvent
  | BlocksEvent
  | ConnectedEvent
  | DisconnectedEvent
  | ProblemEvent

/** One page of a chat, newest first. */
export interface HistoryPage {
  /** Whose chat. */
  peer: string
  /** The messages, newest first. */
  messages: Message[]
  /** There are older ones. */
  more: boolean
  /** Where they begin: what to ask before; a page may have more without a message of its own. null: there are none. */
  next: MessageId | null
  /** How far the peer has come with what the user sent. */
  delivered: Position
  /** The same. */
  read: Position
}

/** One chat of the user. */
export interface Chat {
  /** Whose chat. */
  peer: string
  /** The newest message. */
  last: Message
  /** How far the peer has come with what the user sent. */
  delivered: Position
  /** The same. */
  read: Position
  /** How far the user has read it: a last message from the peer with a place above this is unread. */
  mine: Position
}

/** One page of the user's chats, newest first. */
export interface ChatsPage {
  /** The chats. For the next page ask before the last one's `last.id`. */
  chats: Chat[]
  /** There are older ones. */
  more: boolean
}
