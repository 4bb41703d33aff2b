import { loader } from './go-exec.js'
import { EncryptionError } from './errors.ts'
import type { GroupInfo, GroupMember } from './events.ts'
import type { KeyStorage } from './keys.ts'

/** A value or an error of the other side, cmd/rookery-e2ee. */
type Outcome<T> = { value: T; error?: undefined } | { value?: undefined; error: Problem }
type Plain<A extends unknown[], T> = (...args: A) => Outcome<T>
type Async<A extends unknown[], T> = (...args: [...A, (outcome: Outcome<T>) => void]) => void

/** An error of the other side. */
export interface Problem {
  reason: string
  text: string
  cause: unknown
}

/** An event of the other side. Messages are packets. */
export type MachineEvent =
  | { type: 'shown'; packet: Uint8Array }
  | { type: 'typed'; packet: Uint8Array; kind: number }
  | { type: 'failed'; packet: Uint8Array; error: Problem }
  | { type: 'group_named'; packet: Uint8Array; info: GroupInfo }
  | { type: 'unannounced'; group: string; user: string; reads: boolean }
  | { type: 'left_out'; group: string; users: string[] }
  | { type: 'identity_changed'; user: string; accepted: boolean }
  | { type: 'bad_keys'; user: string; device: string; error: Problem }
  | { type: 'link_used'; device: string; error: Problem | null }
  | { type: 'linked_history'; device: string; given: boolean; sessions: number; error: Problem | null }
  | { type: 'problem'; error: Problem }

/** What the machine uses of the client. */
export interface Link {
  ask(question: Uint8Array): Promise<Uint8Array>
  send(to: string, content: Uint8Array, ttl: number): Promise<{ durable(): Promise<void> }>
  /** Resolves when the session that there is now ends; null: there is none. */
  session(): Promise<void> | null
}

/** e2ee.Machine of the Go SDK. */
export interface Machine {
  start: Plain<[], null>
  connected: Plain<[], null>
  keysLow: Plain<[], null>
  next: Plain<[], MachineEvent | null>
  handled: Plain<[], null>
  waiting: Plain<[], number>
  readable: Plain<[Uint8Array], { kind: number; content: Uint8Array } | null>
  verify: Async<[string, boolean], null>
  take: Async<[Uint8Array], MachineEvent | null>
  ready: Async<[string, number, Uint8Array, AbortSignal | null], { seal: Plain<[string], Uint8Array>; done: Plain<[], null> }>
  sync: Async<[], null>
  published: Async<[], null>
  accept: Async<[string], null>
  removeDevice: Async<[string], null>
  devicesChanged: Async<[], null>
  timer: Plain<[string], number>
  offerLink: Async<[boolean, readonly string[]], string>
  withdrawLink: Plain<[], null>
  join: Async<[string, AbortSignal | null], null>
  safety: Async<[string], { digits: string; scan: Uint8Array; qr: string; verified: boolean }>
  truncated: Plain<[], null>
  own: Async<[Uint8Array], null>
  changing: Async<[string, Uint8Array], null>
  changed: Plain<[string, Uint8Array, string], null>
  refused: Plain<[string], null>
  members: Async<[string], GroupMember[]>
  groupInfo: Plain<[string], GroupInfo | null>
  setGroupInfo: Plain<[string, string, Uint8Array | null], Uint8Array>
  stop: Plain<[], null>
  close: Async<[], null>
}

interface Module {
  open: Async<[string, string, Link, KeyStorage | null, object], Machine>
  encrypt: Plain<[Uint8Array, boolean], { file: Uint8Array; key: string; digest: Uint8Array; size: number }>
  decrypt: Plain<[Uint8Array, string, Uint8Array, number], Uint8Array>
}

/** The value of an outcome; its error is thrown. */
export function valueOf<T>(outcome: Outcome<T>): T {
  if (outcome.error) throw errorOf(outcome.error)
  return outcome.value as T
}

/** An error as the app sees it: what the link threw stays what it was. */
export function errorOf(p: Problem): Error {
  return p.reason === '' && p.cause instanceof Error ? p.cause : new EncryptionError(p.reason, p.text, p.cause)
}

/** Calls a function that may wait. */
export function call<A extends unknown[], T>(f: Async<A, T>, ...args: A): Promise<T> {
  return new Promise((resolve, reject) => {
    f(...args, (outcome) => (outcome.error ? reject(errorOf(outcome.error)) : resolve(outcome.value as T)))
  })
}

/** Where the compiled code is, or itself. */
export type WasmSource = string | URL | BufferSource | WebAssembly.Module

let loading: Promise<Module> | null = null

/** Starts the compiled code, once in a page, Worker or process. What is given as its source first counts. */
export function load(source: WasmSource = new URL('./e2ee.wasm', import.meta.url)): Promise<Module> {
  loading ??= start(source).catch((err) => {
    loading = null
    throw err
  })
  return loading
}

async function start(source: WasmSource): Promise<Module> {
  const node = (globalThis as { process?: NodeJS.Process }).process?.getBuiltinModule
  // What Go looks up in its global object; in browsers it gets no file system.
  const scope: Record<string, unknown> = { Object, Array, Uint8Array, Date, Error, Promise, crypto, performance, TextEncoder, TextDecoder }
  if (node) Object.assign(scope, { fs: node('node:fs'), path: node('node:path'), process })
  const Go = loader(scope)
  const go = new Go()
  const instance = await instantiate(source, go.importObject)
  return new Promise((resolve, reject) => {
    scope['ready'] = resolve
    go.run(instance).then(() => reject(new Error('the encryption ended')), reject)
  })
}

async function instantiate(source: WasmSource, imports: WebAssembly.Imports): Promise<WebAssembly.Instance> {
  if (source instanceof WebAssembly.Module) return WebAssembly.instantiate(source, imports)
  if (typeof source !== 'string' && !(source instanceof URL)) return compiled(source, imports)
  const url = String(source)
  if (url.startsWith('file:')) {
    const { readFile } = process.getBuiltinModule('node:fs/promises')
    return compiled(new Uint8Array(await readFile(new URL(url))), imports)
  }
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${url}: ${response.status}`)
  return compiled(await response.arrayBuffer(), imports)
}

async function compiled(bytes: BufferSource, imports: WebAssembly.Imports): Promise<WebAssembly.Instance> {
  return (await WebAssembly.instantiate(bytes, imports)).instance
}
