import { ChatError, type CodeName } from './errors.ts'

/** Adds the user's path to a server's URL, if it has none. */
export function urlOf(base: string, user: string): string {
  const url = new URL(base)
  if (url.pathname === '/') url.pathname = `/ws/${encodeURIComponent(user)}`
  return url.toString()
}

/**
 * Returns why a handshake was refused, where the WebSocket tells it: that of the package ws has the status in its text.
 * Browsers hide it, so there a refused token cannot be told from a server that is down, and both are tried again.
 */
export function refusalOf(event: object): ChatError | null {
  const text = 'message' in event ? String(event.message) : ''
  const status = Number(/server response: (\d{3})/.exec(text)?.[1] ?? 0)
  return status ? new ChatError(codeOfStatus(status), `the server answered the handshake with status ${status}`) : null
}

function codeOfStatus(status: number): CodeName {
  if (status === 401) return 'unauthorized'
  if (status === 403) return 'wrong_user'
  if (status === 429 || status === 503) return 'busy'
  return status >= 500 ? 'unavailable' : 'protocol'
}
