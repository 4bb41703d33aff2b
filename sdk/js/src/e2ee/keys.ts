import { StateError } from '../errors.ts'

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
  #key!: CryptoKey
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
      this.#key = await this.#wrappingKey(db)
      const tx = db.transaction(commits).objectStore(commits)
      const [numbers, sealed] = await Promise.all([requested(tx.getAllKeys()), requested<Uint8Array[]>(tx.getAll())])
      this.#number = Number(numbers.at(-1) ?? 0)
      return await Promise.all(sealed.map((each, i) => this.#open(each, Number(numbers[i]))))
    } catch (err) {
      throw new StateError(`the keys in ${this.#name} cannot be used: ${err}`, { cause: err })
    }
  }

  async #wrappingKey(db: IDBDatabase): Promise<CryptoKey> {
    const kept = await requested<CryptoKey | undefined>(db.transaction(wrapping).objectStore(wrapping).get(wrapping))
    if (kept) return kept
    const made = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt'])
    const tx = db.transaction(wrapping, 'readwrite', { durability: 'strict' })
    tx.objectStore(wrapping).put(made, wrapping)
    await completed(tx)
    return made
  }

  async extend(records: Uint8Array): Promise<void> {
    await this.#put(records, false)
  }

  async replace(records: Uint8Array): Promise<void> {
    await this.#put(records, true)
  }

  async #put(records: Uint8Array, alone: boolean): Promise<void> {
    const number = ++this.#number
    const sealed = await this.#seal(records, number)
    const tx = this.#db!.transaction(commits, 'readwrite', { durability: 'strict' })
    if (alone) tx.objectStore(commits).clear()
    tx.objectStore(commits).put(sealed, number)
    await completed(tx)
  }

  async #seal(records: Uint8Array, number: number): Promise<Uint8Array> {
    const iv = crypto.getRandomValues(new Uint8Array(12))
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData: place(number) }, this.#key, records.slice())
    const all = new Uint8Array(iv.length + sealed.byteLength)
    all.set(iv)
    all.set(new Uint8Array(sealed), iv.length)
    return all
  }

  async #open(sealed: Uint8Array, number: number): Promise<Uint8Array> {
    const iv = sealed.slice(0, 12)
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData: place(number) }, this.#key, sealed.slice(12)))
  }

  async close(): Promise<void> {
    this.#db?.close()
    this.#db = null
  }
}

/** Binds a commit to its number. */
function place(number: number): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(String(number))
}

function requested<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

function completed(tx: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    tx.oncomplete = () => resolve()
    tx.onabort = () => reject(tx.error)
  })
}
