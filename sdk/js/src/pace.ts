/** Tokens that come back at a rate; below zero they are waited for. */
class Bucket {
  readonly #perMs: number
  readonly #most: number
  #tokens: number
  #at: number

  constructor(perSecond: number, burst: number, now: number) {
    this.#perMs = (0.9 * perSecond) / 1000
    this.#most = Math.max(1, 0.9 * burst)
    this.#tokens = this.#most
    this.#at = now
  }

  take(n: number, now: number): void {
    if (this.#perMs === 0) return
    this.#tokens = this.#filled(now) - n
    this.#at = now
  }

  #filled(now: number): number {
    return Math.min(this.#most, this.#tokens + this.#perMs * Math.max(0, now - this.#at))
  }

  waitMs(now: number): number {
    return this.#perMs === 0 ? 0 : Math.max(0, (1 - this.#filled(now)) / this.#perMs)
  }
}

/**
 * Keeps a session under the server's rates, packets and bytes a second, each with a bucket. It aims a tenth lower, as the
 * server's clock is another.
 */
export class Pace {
  readonly #packets: Bucket
  readonly #bytes: Bucket

  /** Rates a second, 0: no limit; times are in ms of any clock that only rises. */
  constructor(packets: number, burst: number, bytes: number, now: number) {
    this.#packets = new Bucket(packets, burst, now)
    this.#bytes = new Bucket(bytes, bytes, now)
  }

  /** Counts a packet of so many bytes. */
  take(bytes: number, now: number): void {
    this.#packets.take(1, now)
    this.#bytes.take(bytes, now)
  }

  /** Returns how long it takes until there is something in both buckets. */
  waitMs(now: number): number {
    return Math.max(this.#packets.waitMs(now), this.#bytes.waitMs(now))
  }
}

/**
 * Exponential back-off with full jitter: random between nothing and a ceiling that doubles with each failure. A session
 * that outlived the ceiling starts it anew, so that one which breaks at once every time does not.
 */
export class Backoff {
  readonly #minMs: number
  readonly #maxMs: number
  #failures = 0

  /** The ceiling begins at minMs and ends at maxMs. */
  constructor(minMs: number, maxMs: number) {
    this.#minMs = minMs
    this.#maxMs = maxMs
  }

  /** Returns the wait after a session that lived so long, 0 when there was none; at least what the server asks for. */
  nextMs(livedMs: number, leastMs: number): number {
    if (livedMs > this.#ceilingMs) this.#failures = 0
    const wait = Math.random() * this.#ceilingMs
    this.#failures++
    return Math.max(wait, leastMs)
  }

  get #ceilingMs(): number {
    return ceilingMs(this.#minMs, this.#maxMs, this.#failures)
  }
}

/** Returns a ceiling after so many failures. */
export function ceilingMs(minMs: number, maxMs: number, failures: number): number {
  return Math.min(maxMs, minMs * 2 ** Math.min(failures, 30))
}

/** Returns for how long a header Retry-After asks to wait, given in seconds or as a date, in ms; 0: for no time. */
export function retryAfterMs(header: string | null, now: number): number {
  const said = header?.trim() ?? ''
  if (/^\d+$/.test(said)) return Number(said) < 2 ** 31 ? Number(said) * 1000 : 0
  if (!/^[A-Z][a-z]{2,}[, ]/.test(said)) return 0
  const at = Date.parse(said.endsWith(' GMT') ? said : `${said} GMT`) // one of its three forms names no zone
  return at > now ? at - now : 0
}

/** Returns how long to wait after the nth retryable refusal in a row, for which the server gave a time or 0. */
export function refusalWaitMs(saidMs: number, refusals: number, minMs: number, maxMs: number): number {
  if (saidMs > 0) return Math.min(saidMs, 2 ** 31 - 1)
  return (ceilingMs(minMs, maxMs, refusals) * (1 + Math.random())) / 2
}
