/** What the server says of itself at /config. */
export interface Config {
  /** Base of the sockets' URL. */
  sockets: string
  /** Bytes of the largest blob, 0 where there is no media. */
  media: number
}

/** An answer of the web listener that is an error. */
export class SiteError extends Error {
  override readonly name = 'SiteError'
  readonly status: number

  constructor(status: number, text: string) {
    super(text)
    this.status = status
  }
}

/** Asks the server that the page came from. Throws {@link SiteError}, and what fetch throws without a network. */
export async function ask<T>(method: string, path: string, token = '', body?: unknown): Promise<T> {
  const headers: Record<string, string> = {}
  if (token) headers['Authorization'] = `Bearer ${token}`
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  const response = await fetch(path, { method, headers, body: body === undefined ? null : JSON.stringify(body) })
  const answer = await response.json()
  if (!response.ok) throw new SiteError(response.status, (answer as { text: string }).text)
  return answer as T
}

/** Tokens for a name, by the development key: one is used until it has lived for most of its time. */
export class Tokens {
  readonly #user: string
  #token = ''
  #renewAt = 0

  constructor(user: string) {
    this.#user = user
  }

  /** The one that is in use is good no more. */
  drop(): void {
    this.#renewAt = 0
  }

  /** One to use; another one than before, where that was refused. */
  async get(refused = false): Promise<string> {
    if (refused) this.drop()
    if (Date.now() >= this.#renewAt) {
      const began = Date.now()
      const { token, expires } = await ask<{ token: string; expires: number }>('POST', '/dev/token', '', { user: this.#user })
      this.#token = token
      this.#renewAt = began + (expires - began) * 0.7
    }
    return this.#token
  }
}
