/**
 * The TypeScript SDK of Rookery, for browsers, Workers and Node.
 *
 * @packageDocumentation
 */
export { Client, type SendOptions } from './client.ts'
export { type Action, ChatError, ClosedError, type CodeName, codes, StateError } from './errors.ts'
export type {
  CaughtUpEvent,
  Chat,
  ChatsPage,
  ClientEvent,
  ConnectedEvent,
  CopyEvent,
  DisconnectedEvent,
  HistoryPage,
  Message,
  MessageEvent,
  Position,
  PresenceEvent,
  ProblemEvent,
  ReceiptEvent,
  TruncatedEvent,
  TypingEvent,
} from './events.ts'
export { compareIds, type MessageId, msOfId } from './id.ts'
export { IndexedDBJournal, type IndexedDBJournalOptions } from './indexeddb.ts'
export { type Journal, type JournalChange, type JournalState, MemoryJournal, type StoredMessage } from './journal.ts'
export type { ClientOptions, ContentLayer, EncodedContent, WebSocketConstructor } from './options.ts'
export type { Sent, Status } from './sent.ts'
