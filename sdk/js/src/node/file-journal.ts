import { createHash } from 'node:crypto'
import { type FileHandle, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { decode, encode } from '@msgpack/msgpack'

import { StateError } from '../errors.ts'
import { applyChange, freshState, type Journal, type JournalChange, type JournalState } from '../journal.ts'

// The file is a row of commits, each written and synced before the next: 4 bytes of length, big-endian, 8 bytes of the
// SHA-256 of what follows, and the changes in MessagePack. The first one begins with the user and device. Only the last
// commit can be torn, and then it was never said to be durable: it is cut off.
const headBytes = 12

/** The size from which a file is written anew, once less than a quarter of it is of use. */
const compactBytes = 1 << 20

/** Files that clients of this process have open: a lock of our own is no stale one. */
const openHere = new Set<string>()

/** Keeps the state of a client in a file, made where it is missing. One process at a time can use it. */
export class FileJournal implements Journal {
  readonly #path: string
  #file: FileHandle | null = null
  #locked = false
  #size = 0
  #state: JournalState = freshState(0)
  #begun = false
  #owner: [string, string] = ['', '']

  /** Makes one; nothing is opened yet. Beside the file at path there is one with `.lock` at its end while it is in use. */
  constructor(path: string) {
    this.#path = resolve(path)
  }

  /** Opens or makes the file. Throws {@link StateError}: of the file system, for another user's or device's file, and when it is in use. */
  async open(user: string, device: string): Promise<JournalState | null> {
    this.#owner = [user, device]
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
      await this.#lock()
      const bytes = await readFile(this.#path).catch((err: NodeJS.ErrnoException) => {
        if (err.code === 'ENOENT') return new Uint8Array()
        throw err
      })
      const used = this.#replay(bytes)
      if (used === 0) {
        await this.#rewrite()
        return null
      }
      this.#file = await open(this.#path, 'r+')
      this.#size = used
      if (used < bytes.length) {
        await this.#file.truncate(used)
        await this.#file.sync()
      }
      return this.#begun ? { ...this.#state, outbox: [...this.#state.outbox] } : null
    } catch (err) {
      await this.close()
      throw err instanceof StateError ? err : new StateError(`the state file ${this.#path} cannot be used: ${err}`, { cause: err })
    }
  }

  async #lock(): Promise<void> {
    const lock = `${this.#path}.lock`
    for (;;) {
      try {
        await writeFile(lock, String(process.pid), { flag: 'wx', mode: 0o600 })
        openHere.add(lock)
        this.#locked = true
        return
      } catch (err) {
        if ((err as NodeJS.ErrnoException).code !== 'EEXIST') throw err
      }
      const pid = Number(await readFile(lock, 'utf8').catch(() => ''))
      if (openHere.has(lock) || (pid !== process.pid && isAlive(pid))) {
        throw new StateError(`process ${pid} uses the state file ${this.#path}: give each process a device of its own`)
      }
      await rm(lock, { force: true }) // its process is gone
    }
  }

  /** Makes the changes of all whole commits, and returns where they end. */
  #replay(bytes: Uint8Array): number {
    let used = 0
    for (;;) {
      const changes = commitAt(bytes, used)
      if (!changes) break
      if (used === 0) this.#checkOwner(changes.body)
      else for (const change of changes.body as JournalChange[]) this.#apply(change)
      used += changes.size
    }
    if (used === 0 && bytes.length > 0) throw new StateError(`${this.#path} does not begin like a state file`)
    return used
  }

  #apply(change: JournalChange): void {
    if (change.kind === 'begin') this.#begun = true
    applyChange(this.#state, change)
  }

  #checkOwner(body: unknown): void {
    const [user, device] = body as [string, string]
    if (user === this.#owner[0] && device === this.#owner[1]) return
    throw new StateError(`${this.#path} belongs to user ${user}, device ${device}: give each device a state file of its own`)
  }

  /** Appends one commit and syncs it. */
  async commit(changes: readonly JournalChange[]): Promise<void> {
    try {
      for (const change of changes) this.#apply(change)
      const b = commitOf(changes)
      if (this.#size + b.length > compactBytes && this.#size + b.length > 4 * this.#usefulBytes) return await this.#rewrite()
      await this.#file!.write(b, 0, b.length, this.#size)
      await this.#file!.datasync()
      this.#size += b.length
    } catch (err) {
      throw new StateError(`the state file ${this.#path} could not be written: ${err}; nothing more is sent, as it could not be kept`, { cause: err })
    }
  }

  get #usefulBytes(): number {
    return this.#state.outbox.reduce((sum, each) => sum + each.packet.length + 64, 256)
  }

  /** Puts a file of what is known in the place of the one there is, at once. It may stop at any point without harm. */
  async #rewrite(): Promise<void> {
    const { sequence, node, offsetMs, cursor, ticks, outbox } = this.#state
    const changes: JournalChange[] = []
    if (this.#begun) changes.push({ kind: 'begin', sequence })
    if (node) changes.push({ kind: 'node', node, offsetMs })
    if (cursor !== null) changes.push({ kind: 'cursor', cursor, ticks })
    for (const each of outbox) changes.push({ kind: 'put', ...each })
    const b = Buffer.concat([commitOf(this.#owner), commitOf(changes)])
    const next = await open(`${this.#path}.new`, 'w+', 0o600)
    try {
      await next.write(b, 0, b.length, 0)
      await next.sync()
      await rename(`${this.#path}.new`, this.#path)
      const folder = await open(dirname(this.#path), 'r')
      await folder.sync().finally(() => folder.close())
    } catch (err) {
      await next.close()
      throw err
    }
    await this.#file?.close()
    this.#file = next
    this.#size = b.length
  }

  /** Closes the file and lets others have it. */
  async close(): Promise<void> {
    await this.#file?.close()
    this.#file = null
    if (!this.#locked) return
    this.#locked = false
    openHere.delete(`${this.#path}.lock`)
    await rm(`${this.#path}.lock`, { force: true })
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    return process.kill(pid, 0)
  } catch (err) {
    return (err as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function digest(body: Uint8Array): Buffer {
  return createHash('sha256').update(body).digest().subarray(0, 8)
}

function commitOf(body: unknown): Buffer {
  const b = encode(body, { useBigInt64: true })
  const head = Buffer.alloc(headBytes)
  head.writeUInt32BE(b.length)
  digest(b).copy(head, 4)
  return Buffer.concat([head, b])
}

/** Returns the commit at a byte, null when none is whole there. */
function commitAt(bytes: Uint8Array, at: number): { body: unknown; size: number } | null {
  if (bytes.length - at < headBytes) return null
  const b = Buffer.from(bytes.buffer, bytes.byteOffset + at, bytes.length - at)
  const size = headBytes + b.readUInt32BE()
  const body = b.subarray(headBytes, size)
  if (size > b.length || !digest(body).equals(b.subarray(4, headBytes))) return null
  return { body: decode(body, { useBigInt64: true }), size }
}
