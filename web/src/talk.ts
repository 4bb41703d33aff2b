// What the page and its Worker say to each other.

import type { Member, Verb } from '../../sdk/js/src/index.ts'

/** How far a message has come; one of others is only ever received. */
export type Stage = 'waiting' | 'sent' | 'received' | 'failed'

/** A message as the page shows it. */
export interface Message {
  /** Its name in this browser, for as long as it is kept. */
  key: string
  peer: string
  /** The user's own. */
  mine: boolean
  /** Who wrote it. */
  from: string
  /** Sorts the messages of a chat. */
  order: string
  /** When it was written, ms since 1970. */
  at: number
  stage: Stage
  /** In the receiver's chain, 0 while not known: what the watermarks of a chat compare with. */
  place: bigint
  text: string
  /** Why it waits, failed, or cannot be read. */
  note: string
  file: Picture | null
  /** What it changes of a group, where it does. */
  change: Change | null
  /** Its id, '' until it has one: what replies and changes name. */
  id: string
  /** What it replies to. */
  reply: Quote | null
  /** Its text is not the one that was sent first. */
  edited: boolean
  /** It was deleted for everyone. */
  deleted: boolean
  /** In order of the users' names. */
  reactions: { user: string; text: string }[]
  /** What it sets for how long messages live, s; null: nothing. */
  timer: number | null
  /** The user has changed it, which is not sent yet. */
  changing: boolean
  /** It brings a picture that is not uploaded yet: it can be cancelled, and `progress` tells how far it is. */
  sending: boolean
}

/** A message as a reply to it shows it. */
export interface Quote {
  id: string
  /** '' where it is not here. */
  from: string
  text: string
}

/** A change of a group: of its members, or of its name or picture. */
export interface Change {
  verb: Verb
  users: string[]
  /** Of create and info. */
  name: string
  /** Of an info that says nothing of the name: what it does with the group's picture. */
  picture?: 'set' | 'removed'
}

/** A file that a message brings. */
export interface Picture {
  name: string
  type: string
  /** Bytes of the file. */
  size: number
  /** A small picture, JPEG; null: none. */
  thumbnail: Uint8Array | null
}

/** A chat as the list shows it. */
export interface Chat {
  peer: string
  /** Up to where the peer has what the user sent. */
  delivered: bigint
  /** Up to where the peer has read it. */
  read: bigint
  unread: number
  /** The server names another identity for the peer than before. */
  changed: boolean
  last: Message | null
  /** What it is called. */
  title: string
  group: boolean
  /** Of a group: as an admin named it; '': nobody did. */
  name: string
  /** Of a group: the user is no member. */
  out: boolean
  /** The user has blocked the peer. */
  blocked: boolean
  /** Why the server did not take the user's last change of that; '': it did. */
  blockFault: string
  /** For how long messages live that are sent now, s; 0: for ever. */
  timer: number
  /** Of a group: members for whom nothing is encrypted, as they have no keys, or others than before. */
  leftOut: string[]
  /** Of a group: whom the server lists as members, though no message of the group says so. */
  unannounced: string[]
  /** Of a group: whom the server lists, who joined while this browser missed messages: what is sent is for them. */
  unseen: string[]
}

/** A device of the user's. */
export interface Device {
  name: string
  /** As the user calls it; '': by no name. */
  label: string
  /** When it first connected, ms since 1970. */
  since: number
  /** It is this browser. */
  here: boolean
}

/**
 * Where the connection stands. `elsewhere`: other devices have the name, and this one is not linked. `revoked`: another device of the
 * user's took this one away. `stopped`: nothing more happens by itself.
 */
export type State = 'starting' | 'offline' | 'online' | 'aeroplane' | 'elsewhere' | 'revoked' | 'stopped'

/**
 * What the Worker tells by itself. `progress`: bytes of a message's file, on its way up or down. `link_used`: a device gave the code that
 * is shown here, and is linked unless there is a fault. `handed`: what was said before is with a device that was linked, which is
 * this one unless it was given; a fault says why it is not. `longest`: for how long a message may live here at most. `picture`: a group has one, or none any more.
 */
export type News =
  | { type: 'state'; state: State; text: string }
  | { type: 'longest'; seconds: number }
  | { type: 'chat'; chat: Chat }
  | { type: 'message'; message: Message }
  | { type: 'progress'; key: string; done: number; total: number }
  | { type: 'link_used'; device: string; fault: string }
  | { type: 'handed'; device: string; given: boolean; fault: string }
  | { type: 'gone'; peer: string; keys: string[] }
  | { type: 'picture'; peer: string; picture: Uint8Array | null }
  | { type: 'members'; peer: string; members: Member[] }
  | { type: 'typing'; peer: string; on: boolean }
  | { type: 'presence'; peer: string; online: boolean; seen: number }

/** Messages of a chat, oldest first. */
export interface Page {
  messages: Message[]
  /** There are older ones. */
  more: boolean
}

/** What the page may ask for of the user's devices. It takes a connection. */
export interface DeviceCalls {
  devices(): Promise<Device[]>
  /** Names a device, which the server can read; '' takes the name away. */
  nameDevice(name: string, label: string): Promise<void>
  /** Takes a device away for ever. */
  revokeDevice(name: string): Promise<void>
  /** Returns the code that links one new device, for ten minutes, with history but of some chats, or without. `link_used` and `handed` tell of it. */
  offerLink(history: boolean, without: string[]): Promise<string>
  /** Makes that code good no more. */
  withdrawLink(): Promise<void>
  /** Gives the code that another device shows, and returns when this browser is linked. `handed` tells when older messages are here. */
  join(code: string): Promise<void>
}

/** What the page may ask for. */
export interface Calls extends DeviceCalls {
  /** Opens what this browser keeps of a user, tells its chats, and connects. With anew it takes the name over from another browser. */
  open(user: string, anew: boolean): Promise<void>
  /** Begins a chat, where there is none. */
  begin(peer: string): Promise<void>
  /** Makes a group with others, and returns by what it goes as a peer. A first connection has to have been there. */
  createGroup(name: string, users: string[]): Promise<string>
  /** Changes a group, as soon as there is a connection. */
  changeGroup(peer: string, verb: 'add' | 'remove' | 'leave' | 'admin' | 'member', users: string[]): Promise<void>
  nameGroup(peer: string, name: string): Promise<void>
  /** Gives a group a picture, which is made small, or takes it away; kept and sent as its name is. */
  pictureGroup(peer: string, file: File | null): Promise<void>
  /** Asks who is in a group, and how far they have come: `members` tells. */
  look(peer: string): Promise<void>
  /** Messages of a chat before one of an order; '' is no bound. */
  page(peer: string, before: string): Promise<Page>
  /** Returns when the message is kept: it will be sent, over reloads and times without a network. target is the id of what it replies to; '': nothing. */
  send(peer: string, text: string, target: string): Promise<void>
  /** Edits a message of the user's, deletes it for everyone, or reacts to any, which a text of '' takes back. It is kept and sent as messages are. */
  change(key: string, kind: 'edit' | 'delete' | 'reaction', text: string): Promise<void>
  /** Sets for how long messages of a chat live from here on, s; 0: for ever. */
  setTimer(peer: string, seconds: number): Promise<void>
  /** Blocks a user, or takes that back: shown at once, and taken back where the server refuses, which the chat's `blockFault` tells. */
  block(peer: string, on: boolean): Promise<void>
  /** The same for a picture, which is made smaller and loses what the camera wrote into it. */
  sendPicture(peer: string, file: File): Promise<void>
  /** Takes a message back whose picture is not uploaded yet. */
  cancel(key: string): Promise<void>
  /** Downloads and decrypts what a message brings. */
  fetch(key: string): Promise<Blob>
  /** Ends that, where it is under way: fetch throws then. */
  stopFetch(key: string): Promise<void>
  /** The user has been shown all of a chat. */
  shown(peer: string): Promise<void>
  typing(peer: string, on: boolean): Promise<void>
  /** The safety number with a peer, the same as the text of a QR code, and whether it was compared. */
  safety(peer: string): Promise<{ digits: string; qr: string; verified: boolean }>
  verify(peer: string, verified: boolean): Promise<void>
  /** Trusts a peer's new identity. */
  accept(peer: string): Promise<void>
  /** Deletes what this browser keeps of the user, with all keys. After that the page has to be loaded again. */
  forget(): Promise<void>
  /** Ends the connection, or makes it again. */
  aeroplane(on: boolean): Promise<void>
}

/** A call: its number, name and arguments. */
export type Call = [number, keyof Calls, unknown[]]

/** Its answer: the number, the result, and an error's text or ''. */
export type Answer = [number, unknown, string]
