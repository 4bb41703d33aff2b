import type { Journal, JournalChange } from './journal.ts'

/**
 * Joins changes into commits of a journal, one under way at a time: what comes meanwhile is the next commit. So many
 * sends share one sync of the storage.
 */
export class Recorder {
  /** The sequence of the last change appended. */
  appended = 0
  /** The sequence up to which changes are durable. */
  synced = 0
  readonly #journal: Journal
  readonly #onSynced: (failed?: Error) => void
  #pending: JournalChange[] = []
  #committing: Promise<void> | null = null
  #failed: Error | null = null

  /** onSynced is called after each commit, and once with the error of one that failed: nothing is tried after that. */
  constructor(journal: Journal, onSynced: (failed?: Error) => void) {
    this.#journal = journal
    this.#onSynced = onSynced
  }

  /** Adds a change and returns its sequence. */
  append(change: JournalChange): number {
    this.#pending.push(change)
    this.#committing ??= this.#commitAll()
    return ++this.appended
  }

  /** Returns when everything up to a sequence is durable. Throws what the journal threw. */
  async sync(sequence: number): Promise<void> {
    while (this.synced < sequence) {
      if (this.#failed) throw this.#failed
      await this.#committing
    }
  }

  async #commitAll(): Promise<void> {
    await null // what the same turn of the event loop appends goes along
    while (this.#pending.length > 0 && !this.#failed) {
      const changes = this.#pending
      this.#pending = []
      try {
        await this.#journal.commit(changes)
        this.synced += changes.length
      } catch (err) {
        this.#failed = err as Error
      }
      this.#onSynced(this.#failed ?? undefined)
    }
    this.#committing = null
  }

  /** Makes everything durable and gives the journal back. */
  async close(): Promise<void> {
    try {
      await this.sync(this.appended)
    } finally {
      await this.#journal.close()
    }
  }
}
