import { StateError } from './errors.ts'
import { sortKeyOfId } from './id.ts'
import { completed, requested } from './idb.ts'
import { applyChange, freshState, type Journal, type JournalChange, type JournalState, type StoredMessage } from './journal.ts'

const meta = 'meta' // what is not the outbox, as one object
const outbox = 'outbox' // messages by ids whose time comes first, so that their order is that of sending

/** What an IndexedDB journal may be told. */
export interface IndexedDBJournalOptions {
  /** What stands before the database's name, user and device. Default: `rookery`. */
  prefix?: string
  /** For how long another page of this device may take to go away, as after a reload. Default: 2,000. */
  lockWaitMs?: number
}

/**
 * Keeps the state of a client in IndexedDB, in a page or a Worker: a database for each user and device. A Web Lock keeps a
 * second page from using it at the same time; where there are none, as in pages that are not secure contexts, two pages
 * take the session from each other.
 */
export class IndexedDBJournal implements Journal {
  readonly #prefix: string
  readonly #lockWaitMs: number
  #db: IDBDatabase | null = null
  #kept: Omit<JournalState, 'outbox'> = freshState(0)
  #unlock: () => void = () => {}

  /** Makes one; nothing is opened yet. */
  constructor(options: IndexedDBJournalOptions = {}) {
    this.#prefix = options.prefix ?? 'rookery'
    this.#lockWaitMs = options.lockWaitMs ?? 2000
  }

  /** Opens or makes the database. Throws {@link StateError}, also when another page has it. */
  async open(user: string, device: string): Promise<JournalState | null> {
    const name = `${this.#prefix}:${user}:${device}`
    await this.#lock(name)
    try {
      const opening = indexedDB.open(name, 1)
      opening.onupgradeneeded = () => {
        opening.result.createObjectStore(meta)
        opening.result.createObjectStore(outbox)
      }
      const db = (this.#db = await requested(opening))
      db.onversionchange = () => db.close() // somebody deletes it
      const tx = db.transaction([meta, outbox])
      const [kept, messages] = await Promise.all([
        requested<Omit<JournalState, 'outbox'> | undefined>(tx.objectStore(meta).get(meta)),
        requested<StoredMessage[]>(tx.objectStore(outbox).getAll()),
      ])
      if (!kept) return null
      this.#kept = kept
      return { ...kept, outbox: messages }
    } catch (err) {
      await this.close()
      throw new StateError(`the database ${name} cannot be used: ${err}`, { cause: err })
    }
  }

  async #lock(name: string): Promise<void> {
    if (!globalThis.navigator?.locks) return
    const held = new Promise<void>((resolve) => (this.#unlock = resolve))
    try {
      await new Promise<void>((locked, failed) => {
        const signal = AbortSignal.timeout(this.#lockWaitMs)
        navigator.locks.request(name, { signal }, () => (locked(), held)).catch(failed)
      })
    } catch (err) {
      throw new StateError(`another page uses ${name}: give each a device of its own`, { cause: err })
    }
  }

  /** Makes changes in one transaction, and returns when the disk has it. */
  async commit(changes: readonly JournalChange[]): Promise<void> {
    try {
      const tx = this.#db!.transaction([meta, outbox], 'readwrite', { durability: 'strict' })
      const done = completed(tx)
      const state: JournalState = { ...this.#kept, outbox: [] }
      for (const change of changes) {
        if (change.kind === 'put') tx.objectStore(outbox).put({ id: change.id, packet: change.packet }, sortKeyOfId(change.id))
        if (change.kind === 'drop') tx.objectStore(outbox).delete(sortKeyOfId(change.id))
        applyChange(state, change)
      }
      const { outbox: _, ...kept } = state
      tx.objectStore(meta).put(kept, meta)
      await done
      this.#kept = kept
    } catch (err) {
      throw new StateError(`the journal could not be written: ${err}; nothing more is sent, as it could not be kept`, { cause: err })
    }
  }

  /** Closes the database. */
  async close(): Promise<void> {
    this.#db?.close()
    this.#db = null
    this.#unlock()
  }
}
