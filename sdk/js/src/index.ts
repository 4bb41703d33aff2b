/**
 * The TypeScript SDK of Rookery, for browsers, Workers and Node.
 *
 * @packageDocumentation
 */
export { type Device, PlainClient } from './client.ts'
export { type Attachment, decryptAttachment, encryptAttachment } from './e2ee/attachment.ts'
export { base64, bytesOfBase64, fetchFile, type FileBody, fileOf, type FileToSend, maxThumbnailBytes, sendFile } from './e2ee/file.ts'
export { Client, type EncryptedEvent, type EncryptedOptions, type LinkOptions, type Safety } from './e2ee/client.ts'
export { EncryptionError } from './e2ee/errors.ts'
export type { BadKeysEvent, FailedEvent, IdentityChangedEvent, LinkedHistoryEvent, LinkUsedEvent, TypedEvent, GroupInfo, GroupMember, GroupNamedEvent, LeftOutEvent, UnannouncedEvent } from './e2ee/events.ts'
export { type Said, saidOf, type SaidPage } from './e2ee/said.ts'
export { IndexedDBKeys, type KeyStorage } from './e2ee/keys.ts'
export type { WasmSource } from './e2ee/machine.ts'
export {
  apply,
  type Body,
  type BodyKind,
  bodyOf,
  bodyOfType,
  changes,
  counts,
  encodeBody,
  endOf,
  type Item,
  itemOf,
  maxPending,
  maxReactionBytes,
  maxReactions,
  parseBody,
  type Reaction,
  Timeline,
  typeBody,
  typeContent,
  typedOf,
  typeFile,
} from './content.ts'
export { type Action, ChatError, ClosedError, type CodeName, codes, StateError } from './errors.ts'
export type {
  BlocksEvent,
  CaughtUpEvent,
  Chat,
  ChatsPage,
  ClientEvent,
  ConnectedEvent,
  CopyEvent,
  DisconnectedEvent,
  HistoryPage,
  Message,
  GroupMessageEvent,
  MessageEvent,
  Position,
  PresenceEvent,
  ProblemEvent,
  ReceiptEvent,
  TruncatedEvent,
  TypingEvent,
} from './events.ts'
export { type Change, type GroupPage, groupOf, type Member, parseChange, type Verb } from './group.ts'
export { compareIds, type MessageId, msOfId } from './id.ts'
export { IndexedDBJournal, type IndexedDBJournalOptions } from './indexeddb.ts'
export { type Journal, type JournalChange, type JournalState, MemoryJournal, type StoredMessage } from './journal.ts'
export { type DownloadOptions, Media, mediaPrefix, mediaTries, type Progress, type UploadOptions } from './media.ts'
export { type ClientOptions, isGroup, type WebSocketConstructor } from './options.ts'
export type { SendOptions } from './outgoing.ts'
export type { Sent, Status } from './sent.ts'
export { suiteGroup, suiteKeyShare, suiteMegolm, suitePlain } from './suites.ts'
export { maxUnread, Unread, type UnreadSource } from './unread.ts'
