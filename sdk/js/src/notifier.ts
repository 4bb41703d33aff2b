/** Tells any number of waiters that something changed. */
export class Notifier {
  readonly #waiters = new Set<() => void>()

  /** Returns when fire is called next. Rejects with the signal's reason when that is aborted. */
  wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const done = () => {
        signal?.removeEventListener('abort', abort)
        resolve()
      }
      const abort = () => {
        this.#waiters.delete(done)
        reject(signal!.reason)
      }
      this.#waiters.add(done)
      signal?.addEventListener('abort', abort, { once: true })
    })
  }

  /** Wakes all that wait now. */
  fire(): void {
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const done of waiters) done()
  }
}
