import { type MessageId, ticksOfId } from './id.ts'

/** A message of the outbox. */
export interface StoredMessage {
  /** Its id. */
  id: MessageId
  /** Its send packet, with the number 0. */
  packet: Uint8Array
}

/** What a journal keeps of one installation. */
export interface JournalState {
  /** The clock sequence of its ids, drawn at random once. */
  sequence: number
  /** The node of its ids, 12 hex digits; empty until the first welcome. */
  node: string
  /** The server's clock minus ours, ms. */
  offsetMs: number
  /** Up to where the app has handled the user's chain; null: nothing is known. */
  cursor: bigint | null
  /** Ticks of the newest id made or seen. */
  ticks: bigint
  /** What is not accepted yet, in the order of the ids. */
  outbox: StoredMessage[]
}

/** A change of what a journal keeps. */
export type JournalChange =
  | {
      /** A message enters the outbox. */
      kind: 'put'
      /** Its id. */
      id: MessageId
      /** Its send packet. */
      packet: Uint8Array
    }
  | {
      /** A message leaves the outbox. */
      kind: 'drop'
      /** Its id. */
      id: MessageId
    }
  | {
      /** The app has handled its chain up to a position. */
      kind: 'cursor'
      /** Up to where. */
      cursor: bigint
      /** Ticks of the newest id made or seen. */
      ticks: bigint
    }
  | {
      /** What the welcome says. */
      kind: 'node'
      /** 12 hex digits. */
      node: string
      /** The server's clock minus ours, ms. */
      offsetMs: number
    }
  | {
      /** The first change of all. */
      kind: 'begin'
      /** The clock sequence. */
      sequence: number
    }

/**
 * Where a client keeps what must outlive it: the one seam between the SDK and a storage. A client calls one method at a
 * time. Errors are {@link StateError}; after the first failure to commit the client ends.
 */
export interface Journal {
  /** Takes the storage of a user's device for this client alone and returns what is kept, null: nothing yet. */
  open(user: string, device: string): Promise<JournalState | null>
  /** Makes changes durable, in order, all of them or none, and returns when they are. */
  commit(changes: readonly JournalChange[]): Promise<void>
  /** Gives the storage back. */
  close(): Promise<void>
}

/** Returns the state of an installation that has kept nothing yet. */
export function freshState(sequence: number): JournalState {
  return { sequence, node: '', offsetMs: 0, cursor: null, ticks: 0n, outbox: [] }
}

/** Makes one change to a state, for journals that keep it whole. */
export function applyChange(state: JournalState, change: JournalChange): void {
  const { outbox } = state
  switch (change.kind) {
    case 'begin':
      state.sequence = change.sequence
      break
    case 'node':
      state.node = change.node
      state.offsetMs = change.offsetMs
      break
    case 'cursor':
      state.cursor = change.cursor
      if (change.ticks > state.ticks) state.ticks = change.ticks
      break
    case 'put':
      outbox.push({ id: change.id, packet: change.packet })
      if (ticksOfId(change.id) > state.ticks) state.ticks = ticksOfId(change.id)
      break
    case 'drop': {
      const i = outbox.findIndex((each) => each.id === change.id)
      if (i >= 0) outbox.splice(i, 1)
    }
  }
}

/** Keeps everything in memory: for tests, for clients that may lose what is not accepted, and for one page's life. */
export class MemoryJournal implements Journal {
  #state: JournalState | null = null

  /** Returns what an earlier client of this journal left. */
  async open(): Promise<JournalState | null> {
    return this.#state && { ...this.#state, outbox: [...this.#state.outbox] }
  }

  /** Makes changes. */
  async commit(changes: readonly JournalChange[]): Promise<void> {
    this.#state ??= freshState(0)
    for (const change of changes) applyChange(this.#state, change)
  }

  /** Does nothing. */
  async close(): Promise<void> {}
}
