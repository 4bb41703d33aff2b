import { completed, requested } from '../idb.ts'

const ivBytes = 12

/**
 * Seals bytes in a database of IndexedDB by AES-GCM, with a key that WebCrypto does not give out: a copy of the database's bytes
 * is of no use without the browser's own store of keys. Code that runs in the page can use what it can use.
 */
export class Seal {
  readonly #key: CryptoKey

  private constructor(key: CryptoKey) {
    this.#key = key
  }

  /** The seal whose key lies in an object store under the store's own name; it is made where there is none. */
  static async of(db: IDBDatabase, store: string): Promise<Seal> {
    const kept = await requested<CryptoKey | undefined>(db.transaction(store).objectStore(store).get(store))
    if (kept) return new Seal(kept)
    const made = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt'])
    const tx = db.transaction(store, 'readwrite', { durability: 'strict' })
    tx.objectStore(store).put(made, store)
    await completed(tx)
    return new Seal(made)
  }

  /** Seals bytes for a place, under which alone they can be opened. */
  async seal(bytes: Uint8Array, place: string): Promise<Uint8Array> {
    const iv = crypto.getRandomValues(new Uint8Array(ivBytes))
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData: bytesOf(place) }, this.#key, bytes.slice())
    const all = new Uint8Array(iv.length + sealed.byteLength)
    all.set(iv)
    all.set(new Uint8Array(sealed), iv.length)
    return all
  }

  /** Opens them. What was changed, or lies at another place, throws. */
  async open(sealed: Uint8Array, place: string): Promise<Uint8Array<ArrayBuffer>> {
    const algorithm = { name: 'AES-GCM', iv: sealed.slice(0, ivBytes), additionalData: bytesOf(place) }
    return new Uint8Array(await crypto.subtle.decrypt(algorithm, this.#key, sealed.slice(ivBytes)))
  }
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text)
}
