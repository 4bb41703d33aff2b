import { Seal } from '../../../sdk/js/src/e2ee/seal.ts'
import { completed, requested } from '../../../sdk/js/src/idb.ts'
import { type BodyKind, changes, type FileBody, type MessageId, type Reaction } from '../../../sdk/js/src/index.ts'
import type { Change } from '../talk.ts'

const rows = 'rows' // messages; what they say is sealed
const chats = 'chats'
const files = 'files' // pictures that are not uploaded yet, sealed
const device = 'device'
const wrapping = 'wrapping' // the key that seals

/** What a message says, with all that changed it. */
export interface Body {
  kind: BodyKind
  text: string
  note: string
  file: FileBody | null
  /** What it changes of a group. */
  change: Change | null
  /** The message that it replies to, or that it changes. */
  target: MessageId | null
  /** The SDK's: of a text how long it lives, of a timer what is sent from there on. */
  seconds: number
  /** The edit that the text comes from. */
  edited: MessageId | null
  deleted: boolean
  reactions: Reaction[]
  /** Of a deletion: the blob of the user's own picture that it deletes, '' where there is none. */
  drops: string
}

/** A body with nothing but what is given. */
export function newBody(some: Partial<Body>): Body {
  return { kind: 'text', text: '', note: '', file: null, change: null, target: null, seconds: 0, edited: null, deleted: false, reactions: [], drops: '', ...some }
}

/** A message as it is kept, and what it says. */
export interface Row {
  key: string
  peer: string
  mine: boolean
  from: string
  order: string
  at: number
  /** '' until it is known. */
  id: string
  /** waiting: not in the outbox yet. outbox: the SDK has it. done: it has a place, or never will. */
  stage: 'waiting' | 'outbox' | 'done' | 'failed'
  place: bigint
  /** When it disappears, ms since 1970 by the server's clock; 0: never. */
  ends: number
  body: Body
}

/** What is kept of a chat. */
export interface ChatRow {
  peer: string
  delivered: bigint
  read: bigint
  /** Up to where the user has been shown it, in the user's own chain, or in the group's order. */
  mine: bigint
  /** The newest place of others' messages, in the same. */
  top: bigint
  unread: number
  changed: boolean
  /** Of a group: its name, who else is in it, and whether the user is not. */
  name: string
  others: string[]
  out: boolean
  blocked: boolean
  /** Why the server did not take the user's last change of that; '': it did. */
  blockFault: string
  /** The server does not know of `blocked` yet. */
  untold: boolean
  /** For how long messages live that are sent now, and the message that said so. */
  timer: number
  timerId: MessageId | ''
  leftOut: string[]
  unannounced: string[]
  unseen: string[]
}

/**
 * A row in the database. One that changes a message has no order there but a target, so that it is not among the messages, and
 * one that disappears a time to be swept at, once nothing is to be sent of it any more.
 */
type Sealed = Omit<Row, 'body' | 'order'> & { sealed: Uint8Array; open?: 1; order?: string; turn?: string; target?: MessageId; sweep?: number }

/**
 * What this browser keeps of a user's chats, in a database of its own: so that the page shows them before the encryption has
 * started and without a network, and sends what waits after a reload. What messages say is sealed; names and times are not.
 */
export class Store {
  readonly #db: IDBDatabase
  readonly #seal: Seal
  /** This installation's name. */
  readonly device: string

  private constructor(db: IDBDatabase, seal: Seal, name: string) {
    this.#db = db
    this.#seal = seal
    this.device = name
  }

  static async open(user: string): Promise<Store> {
    const opening = indexedDB.open(`rookery-page:${user}`, 2)
    opening.onupgradeneeded = ({ oldVersion }) => {
      const db = opening.result
      if (oldVersion < 1) {
        const messages = db.createObjectStore(rows, { keyPath: 'key' })
        messages.createIndex('order', ['peer', 'order'])
        messages.createIndex('id', 'id')
        messages.createIndex('open', 'open')
        db.createObjectStore(chats, { keyPath: 'peer' })
        for (const name of [files, device, wrapping]) db.createObjectStore(name)
      }
      const messages = opening.transaction!.objectStore(rows)
      messages.createIndex('target', 'target')
      messages.createIndex('sweep', 'sweep')
    }
    const db = await requested(opening)
    db.onversionchange = () => db.close()
    const seal = await Seal.of(db, wrapping)
    let name = await requested<string | undefined>(db.transaction(device).objectStore(device).get(device))
    if (!name) {
      name = `page-${crypto.randomUUID().slice(0, 8)}`
      const tx = db.transaction(device, 'readwrite', { durability: 'strict' })
      tx.objectStore(device).put(name, device)
      await completed(tx)
    }
    return new Store(db, seal, name)
  }

  /** Deletes all of it, for ever. Nothing else may be done with it any more. */
  async forget(): Promise<void> {
    this.#db.close()
    await requested(indexedDB.deleteDatabase(this.#db.name))
  }

  async chats(): Promise<ChatRow[]> {
    return requested(this.#db.transaction(chats).objectStore(chats).getAll())
  }

  /** Keeps a chat and messages of it, durably and all or none. */
  async put(chat: ChatRow, ...messages: Row[]): Promise<void> {
    const sealed = await Promise.all(messages.map((row) => this.#close(row)))
    const tx = this.#db.transaction([chats, rows], 'readwrite', { durability: 'strict' })
    tx.objectStore(chats).put(chat)
    for (const each of sealed) tx.objectStore(rows).put(each)
    await completed(tx)
  }

  /** At most n messages of a chat with the greatest orders below one, oldest first; '' is no bound. */
  async page(peer: string, before: string, n: number): Promise<Row[]> {
    const range = IDBKeyRange.bound([peer, ''], [peer, before || '~'], false, true)
    const cursor = this.#db.transaction(rows).objectStore(rows).index('order').openCursor(range, 'prev')
    const found: Sealed[] = []
    await new Promise<void>((resolve, reject) => {
      cursor.onerror = () => reject(cursor.error)
      cursor.onsuccess = () => {
        if (!cursor.result || found.length === n) return resolve()
        found.push(cursor.result.value as Sealed)
        cursor.result.continue()
      }
    })
    return Promise.all(found.reverse().map((each) => this.#open(each)))
  }

  async row(key: string): Promise<Row | null> {
    return this.#maybe(await requested<Sealed | undefined>(this.#db.transaction(rows).objectStore(rows).get(key)))
  }

  async byId(id: string): Promise<Row | null> {
    return this.#maybe(await requested<Sealed | undefined>(this.#db.transaction(rows).objectStore(rows).index('id').get(id)))
  }

  /** What is not accepted yet, in order. */
  async unsent(): Promise<Row[]> {
    const found = await requested<Sealed[]>(this.#db.transaction(rows).objectStore(rows).index('open').getAll(1))
    const opened = await Promise.all(found.map((each) => this.#open(each)))
    return opened.sort((a, b) => (a.order < b.order ? -1 : 1))
  }

  /** What changes a message. */
  async changesOf(target: MessageId): Promise<Row[]> {
    const found = await requested<Sealed[]>(this.#db.transaction(rows).objectStore(rows).index('target').getAll(target))
    return Promise.all(found.map((each) => this.#open(each)))
  }

  /** Removes what has disappeared by a time, durably, and returns it and when the next one goes; 0: none. */
  async sweep(now: number): Promise<{ gone: { peer: string; key: string }[]; next: number }> {
    const tx = this.#db.transaction([rows, files], 'readwrite', { durability: 'strict' })
    const cursor = tx.objectStore(rows).index('sweep').openCursor()
    const gone: { peer: string; key: string }[] = []
    let next = 0
    cursor.onsuccess = () => {
      if (!cursor.result) return
      const { peer, key, sweep } = cursor.result.value as Sealed
      if (sweep! > now) return void (next = sweep!)
      gone.push({ peer, key })
      tx.objectStore(files).delete(key)
      cursor.result.delete()
      cursor.result.continue()
    }
    await completed(tx)
    return { gone, next }
  }

  /** Removes a message and its picture, durably. */
  async drop(key: string): Promise<void> {
    const tx = this.#db.transaction([rows, files], 'readwrite', { durability: 'strict' })
    for (const name of [rows, files]) tx.objectStore(name).delete(key)
    await completed(tx)
  }

  /** Keeps the bytes of a picture until they are uploaded. */
  async putFile(key: string, bytes: Uint8Array): Promise<void> {
    const sealed = await this.#seal.seal(bytes, `file ${key}`)
    const tx = this.#db.transaction(files, 'readwrite', { durability: 'strict' })
    tx.objectStore(files).put(sealed, key)
    await completed(tx)
  }

  async file(key: string): Promise<Uint8Array | null> {
    const sealed = await requested<Uint8Array | undefined>(this.#db.transaction(files).objectStore(files).get(key))
    return sealed ? this.#seal.open(sealed, `file ${key}`) : null
  }

  async dropFile(key: string): Promise<void> {
    const tx = this.#db.transaction(files, 'readwrite')
    tx.objectStore(files).delete(key)
    await completed(tx)
  }

  async #close({ body, order, ...row }: Row): Promise<Sealed> {
    const sealed = await this.#seal.seal(new TextEncoder().encode(JSON.stringify(body)), `row ${row.key}`)
    const open = row.stage === 'waiting' || row.stage === 'outbox'
    return {
      ...row,
      sealed,
      ...(changes(body) ? { turn: order, target: body.target! } : { order }),
      ...(open ? { open: 1 as const } : row.ends > 0 ? { sweep: row.ends } : {}),
    }
  }

  async #maybe(row: Sealed | undefined): Promise<Row | null> {
    return row ? this.#open(row) : null
  }

  /** An earlier version kept less of a row. */
  async #open({ sealed, open: _, order, turn, target: __, sweep: ___, ...row }: Sealed): Promise<Row> {
    const body = JSON.parse(new TextDecoder().decode(await this.#seal.open(sealed, `row ${row.key}`))) as Partial<Body>
    return { ...row, ends: row.ends ?? 0, order: order ?? turn!, body: newBody(body.file ? { kind: 'file', ...body } : body) }
  }
}
