import { StateError } from '../errors.ts'
import { completed, requested } from '../idb.ts'
import { Seal } from './seal.ts'

/** Keeps the keys of a device as commits, sealed. One at a time uses it. */
export interface KeyStorage {
  /** Returns all commits, in order. */
  load(): Promise<Uint8Array[]>
  /** Adds one, durably. */
  extend(records: Uint8Array): Promise<void>
  /** Puts one in the place of all, durably. */
  replace(records: Uint8Array): Promise<void>
  /** Lets go of it. */
  close(): Promise<void>
}

const commits = 'commits'
const wrapping = 'wrapping' // the key that seals them, which no code can read

/**
 * Keeps keys in IndexedDB, sealed by AES-GCM with a key that WebCrypto does not give out: a copy of the database's bytes is of
 * no use without the browser's own store of keys. Code that runs in the page can use what it can use.
 */
export class IndexedDBKeys implements KeyStorage {
  readonly #name: string
  #db: IDBDatabase | null = null
  #seal!: Seal
  #number = 0

  /** Of a user's device; nothing is opened yet. */
  constructor(user: string, device: string, prefix = 'rookery-keys') {
    this.#name = `${prefix}:${user}:${device}`
  }

  /** Opens or makes the database. Throws {@link StateError}. */
  async load(): Promise<Uint8Array[]> {
    try {
      const opening = indexedDB.open(this.#name, 1)
      opening.onupgradeneeded = () => {
        opening.result.createObjectStore(commits)
        opening.result.createObjectStore(wrapping)
      }
      const db = (this.#db = await requested(opening))
      db.onversionchange = () => db.close()
      this.#seal = await Seal.of(db, wrapping)
      const tx = db.transaction(commits).objectStore(commits)
      const [numbers, sealed] = await Promise.all([requested(tx.getAllKeys()), requested<Uint8Array[]>(tx.getAll())])
      this.#number = Number(numbers.at(-1) ?? 0)
      return await Promise.all(sealed.map((each, i) => this.#seal.open(each, String(numbers[i]))))
    } catch (err) {
      throw new StateError(`the keys in ${this.#name} cannot be used: ${err}`, { cause: err })
    }
  }

  async extend(records: Uint8Array): Promise<void> {
    await this.#put(records, false)
  }

  async replace(records: Uint8Array): Promise<void> {
    await this.#put(records, true)
  }

  async #put(records: Uint8Array, alone: boolean): Promise<void> {
    const number = ++this.#number
    const sealed = await this.#seal.seal(records, String(number))
    const tx = this.#db!.transaction(commits, 'readwrite', { durability: 'strict' })
    if (alone) tx.objectStore(commits).clear()
    tx.objectStore(commits).put(sealed, number)
    await completed(tx)
  }

  async close(): Promise<void> {
    this.#db?.close()
    this.#db = null
  }
}
