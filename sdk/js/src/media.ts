import { sleep } from './core.ts'
import { ChatError, isRetry } from './errors.ts'
import { refusalWaitMs, retryAfterMs } from './pace.ts'
import type { Sent } from './sent.ts'

/** What begins a message's `media` where it names a blob; the name follows. */
export const mediaPrefix = 'media:'

/** How often in a row an upload or download is tried without getting any further. */
export const mediaTries = 5
/** Before it goes on: doubled up to the second. */
const waitMinMs = 500
const waitMaxMs = 10_000
/** The longest wait that an answer can ask for. */
const askedMaxMs = 120_000

/** How far an upload or download is: bytes of all bytes. It goes back where a part was cut off. */
export type Progress = (done: number, total: number) => void

/** What an upload may have. */
export interface UploadOptions {
  /** Its content type. Default: `application/octet-stream`, which is what encrypted bytes are. */
  type?: string
  /** Seconds that the message lives which will name the blob; 0 is for ever. Default: 0. */
  ttlSeconds?: number
  /** Of an upload to go on with, over an end of this page or process: the same bytes. Default: a new one. */
  name?: string
  /** Is told the name as soon as there is one. */
  begun?: (name: string) => void
  /** Is told how far it is: in a browser as bytes leave, elsewhere after each part of 8 MiB. */
  progress?: Progress
  signal?: AbortSignal
}

/** What a download may have. */
export interface DownloadOptions {
  /** The most bytes that are taken; more is refused with `too_large`. Default: what the server says. */
  maxBytes?: number
  progress?: Progress
  signal?: AbortSignal
}

/** The API's answer to an upload. */
interface Slot {
  name: string
  size: number
  type: string
  part_bytes: number
  complete: boolean
  missing: { part: number; size: number; url: string }[]
}

/**
 * Uploads and downloads blobs, over HTTP beside the connection; docs/media.md tells it whole. It encrypts nothing: see
 * {@link sendFile}. Who says when to come again, by `retry_ms` or `Retry-After`, is heeded, for two minutes at most. Errors are {@link ChatError} and the reasons of signals: `unavailable` after {@link mediaTries} tries that got no
 * further, `too_large`, `quota`, `bad_media`, `not_found`.
 */
export class Media {
  readonly #web: string
  readonly #token: (refused: boolean) => string | Promise<string>

  /**
   * web is the URL of the server's web listener, such as http://127.0.0.1:8082; token makes a JWT for the user. Where the server refuses it,
   * as after a device of the user was revoked, it is asked for another one, once, and told that the one before was refused.
   */
  constructor(web: string, token: (refused: boolean) => string | Promise<string>) {
    this.#web = web.replace(/\/$/, '')
    this.#token = token
  }

  /**
   * Puts a blob's bytes and returns its name, for a message's media. It goes on after interruptions of the network, and with
   * `name` after those of the page: parts that arrived are not sent again. An upload that is not there any more, after a day, is
   * begun anew.
   */
  async upload(bytes: Uint8Array, options: UploadOptions = {}): Promise<string> {
    const { type = 'application/octet-stream', ttlSeconds = 0, begun, progress, signal } = options
    const begin = { size: bytes.length, type, ttl: Math.ceil(ttlSeconds) }
    let [name, done] = [options.name ?? '', 0]
    const ask = async () => {
      const gone = (err: unknown) => {
        if (name === options.name && err instanceof ChatError && err.codeName === 'not_found') return null // it is begun anew
        throw err
      }
      const known = name ? await this.#api<Slot>('GET', `${encodeURIComponent(name)}/slot`, signal).catch(gone) : null
      const slot = known ?? (await this.#api<Slot>('POST', '', signal, begin))
      if (slot.size !== bytes.length || !(slot.part_bytes > 0)) {
        throw new ChatError('bad_media', `the upload ${slot.name} is of ${slot.size} bytes, not of ${bytes.length}`)
      }
      name = slot.name
      if (!known) begun?.(name)
      done = slot.missing.reduce((rest, { size }) => rest - size, slot.size)
      progress?.(done, slot.size)
      return slot
    }
    return insist(() => done, async () => {
      for (;;) { // which parts are missing, and where they go, the server knows best
        const slot = await ask()
        for (const { part, size, url } of slot.missing) {
          const at = (part - 1) * slot.part_bytes
          await put(url, slot.type, bytes.slice(at, at + size), (sent) => progress?.(done + Math.min(sent, size), slot.size), signal)
          done += size
          progress?.(done, slot.size)
        }
        if (slot.complete) return name
        if (slot.missing.length > 0) continue
        await this.#api('POST', `${encodeURIComponent(name)}/end`, signal)
        return name
      }
    }, signal)
  }

  /** Returns a blob's bytes. After interruptions of the network it goes on where it was. */
  async download(name: string, { maxBytes = Infinity, progress, signal }: DownloadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    let bytes: Uint8Array<ArrayBuffer> | null = null
    let have = 0
    return insist(() => have, async () => {
      const { url, size } = await this.#api<{ url: string; size: number }>('GET', encodeURIComponent(name), signal)
      if (size > maxBytes) throw new ChatError('too_large', `the blob has ${size} bytes, more than the ${maxBytes} that it should have`)
      bytes ??= new Uint8Array(size)
      if (bytes.length !== size) throw new ChatError('bad_media', `the blob had ${bytes.length} bytes, and has ${size} now`)
      if (have === size) return bytes // a store would refuse to give nothing
      const body = await get(url, have, signal)
      for (;;) {
        const { done, value } = await body.read().catch(cut(signal))
        if (done) break
        if (have + value.length > size) throw new ChatError('bad_media', `the media store has more than the blob's ${size} bytes`)
        bytes.set(value, have)
        have += value.length
        progress?.(have, size)
      }
      if (have < size) throw new ChatError('unavailable', 'the download was cut off')
      return bytes
    }, signal)
  }

  /** Removes a blob of the user's own, or an upload that was begun. One that is gone already is no error. */
  async drop(name: string, signal?: AbortSignal): Promise<void> {
    await this.#api('DELETE', encodeURIComponent(name), signal)
  }

  /**
   * Is drop of the blob of a message that is deleted for everyone: it waits until the deletion is durable, so that no message stays
   * whose file is gone, and then tries {@link mediaTries} times to reach the server. Where that fails, or the page ends before it, the
   * blob stays until its end. Errors are those of {@link Sent.durable}, too.
   */
  async dropAfter(deletion: Sent, name: string, signal?: AbortSignal): Promise<void> {
    await deletion.durable(signal)
    await insist(() => 0, () => this.drop(name, signal), signal).catch((err: unknown) => {
      if (!(err instanceof ChatError && err.codeName === 'not_found')) throw err // its end was before this
    })
  }

  async #api<T>(method: string, path: string, signal?: AbortSignal, ask?: object): Promise<T> {
    const token = await this.#token(false)
    try {
      return await this.#ask<T>(token, method, path, signal, ask)
    } catch (err) {
      if (!(err instanceof ChatError && err.action === 'login')) throw err
      const another = await this.#token(true)
      if (another === token) throw err
      return this.#ask<T>(another, method, path, signal, ask)
    }
  }

  async #ask<T>(token: string, method: string, path: string, signal?: AbortSignal, ask?: object): Promise<T> {
    const headers: Record<string, string> = { Authorization: `Bearer ${token}` }
    if (ask) headers['Content-Type'] = 'application/json'
    const init: RequestInit = { method, headers, body: ask ? JSON.stringify(ask) : null, signal: signal ?? null }
    const response = await fetch(`${this.#web}/v1/media${path && `/${path}`}`, init).catch(cut(signal))
    const answer = (await response.json().catch(() => ({}))) as T & { number?: number; text?: string; retry_ms?: number }
    if (response.ok) return answer
    const later = answer.retry_ms || retryAfter(response) // a proxy has but the header
    if (!answer.number) throw new ChatError('unavailable', `the web listener answered with ${response.status}`, later)
    throw new ChatError(answer.number, answer.text ?? '', later)
  }
}

/** Does something that the network may interrupt, again and again as long as it gets further. */
async function insist<T>(far: () => number, act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let [failures, before] = [0, 0]; ; ) {
    signal?.throwIfAborted()
    try {
      return await act()
    } catch (err) {
      if (!isRetry(err)) throw err
      failures = far() > before ? 1 : failures + 1
      before = Math.max(before, far())
      if (failures >= mediaTries) throw err
      await sleep(refusalWaitMs(Math.min(err.retryAfterMs, askedMaxMs), failures, waitMinMs, waitMaxMs), signal)
    }
  }
}

/** When an answer says to come again, in ms from now; 0: it does not. */
const retryAfter = (answer: Response) => retryAfterMs(answer.headers.get('Retry-After'), Date.now())

/** Makes the error of a request that did not come through, or throws why it was not to. */
const cut = (signal?: AbortSignal) => (err: unknown): never => {
  signal?.throwIfAborted()
  throw new ChatError('unavailable', `the network: ${err instanceof Error ? err.message : String(err)}`)
}

/** Puts one part. fetch tells nothing of how far it is, XMLHttpRequest, where there is one, does. */
async function put(url: string, type: string, part: Uint8Array<ArrayBuffer>, progress: (sent: number) => void, signal?: AbortSignal): Promise<void> {
  const refused = (status: number, laterMs: number) => new ChatError('unavailable', `a part was answered with ${status}`, laterMs)
  if (typeof XMLHttpRequest === 'undefined') {
    const response = await fetch(url, { method: 'PUT', headers: { 'Content-Type': type }, body: part, signal: signal ?? null }).catch(cut(signal))
    await response.body?.cancel()
    if (!response.ok) throw refused(response.status, retryAfter(response))
    return
  }
  const request = new XMLHttpRequest()
  const abort = () => request.abort()
  signal?.addEventListener('abort', abort)
  try {
    await new Promise<void>((resolve, reject) => {
      request.open('PUT', url)
      request.setRequestHeader('Content-Type', type)
      request.upload.onprogress = ({ loaded }) => progress(loaded)
      request.onload = () => (request.status === 200 ? resolve() : reject(refused(request.status, retryAfterMs(headerOf(request, 'retry-after'), Date.now()))))
      request.onerror = request.onabort = () => reject(new Error('the upload was cut off'))
      request.send(part)
    }).catch((err) => (err instanceof ChatError ? Promise.reject(err) : cut(signal)(err)))
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}

/** A header that a store may keep from pages: to ask for it by its name would be told as an error then. */
function headerOf(request: XMLHttpRequest, name: string): string | null {
  const line = request.getAllResponseHeaders().split('\r\n').find((each) => each.toLowerCase().startsWith(`${name}:`))
  return line?.slice(name.length + 1) ?? null
}

/** Asks for a blob from a byte on. */
async function get(url: string, from: number, signal?: AbortSignal): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const headers: Record<string, string> = from > 0 ? { Range: `bytes=${from}-` } : {}
  const response = await fetch(url, { headers, signal: signal ?? null }).catch(cut(signal))
  if (response.status === 404) throw new ChatError('not_found', 'there is no such blob, or not any more')
  const range = response.headers.get('Content-Range') // a store may keep it from pages; a wrong one the digest shows
  const fits = from === 0 ? response.status === 200 : response.status === 206 && (range === null || range.startsWith(`bytes ${from}-`))
  if (!fits || !response.body) throw new ChatError('unavailable', `the media store answered the download with ${response.status}`, retryAfter(response))
  return response.body.getReader()
}
