import { type Attachment, base64, encryptAttachment, fetchFile, type FileBody, type Media, type Sent } from '../../../sdk/js/src/index.ts'
import type { News } from '../talk.ts'

/** A picture on its way to the store. */
interface Upload {
  /** null: not encrypted yet. */
  sealed: { file: Uint8Array; attachment: Attachment } | null
  /** The blob's name; '': not begun. */
  name: string
  abort: AbortController
}

/**
 * Pictures on their way to the store, by their messages. One that was cut off goes on with the blob that was begun, as long as the page
 * lives: the next page begins another one.
 */
export class Uploads {
  readonly #media: Media
  readonly #tell: (news: News) => void
  readonly #begun = new Map<string, Upload>()

  constructor(media: Media, tell: (news: News) => void) {
    this.#media = media
    this.#tell = tell
  }

  /** Encrypts a picture's bytes and uploads them; the result has where they are and what opens them. */
  async send(key: string, bytes: Uint8Array, ttlSeconds: number): Promise<Pick<FileBody, 'key' | 'digest' | 'size' | 'blob'>> {
    const upload = this.#begun.get(key) ?? { sealed: null, name: '', abort: new AbortController() }
    this.#begun.set(key, upload)
    const { signal } = (upload.abort = new AbortController())
    upload.sealed ??= await encryptAttachment(bytes)
    const { file, attachment } = upload.sealed
    const blob = await this.#media.upload(file, {
      name: upload.name, ttlSeconds, signal,
      begun: (name) => (upload.name = name),
      progress: (done, total) => this.#tell({ type: 'progress', key, done, total }),
    })
    this.#begun.delete(key)
    return { key: attachment.key, digest: base64(attachment.digest), size: attachment.size, blob }
  }

  /** Drops the picture of a message once its deletion has arrived. */
  drop(deletion: Sent, blob: string): void {
    void this.#media.dropAfter(deletion, blob).catch(() => {}) // the sweep finds it
  }

  /** Stops what is on its way, to go on later. */
  pause(): void {
    for (const { abort } of this.#begun.values()) abort.abort(new Error('not now'))
  }

  /** Stops one for good, and takes back what arrived of it. */
  cancel(key: string): void {
    const upload = this.#begun.get(key)
    this.#begun.delete(key)
    upload?.abort.abort(new Error('it was cancelled'))
    if (upload?.name) void this.#media.drop(upload.name).catch(() => {}) // the sweep finds it
  }
}

/** Files on their way from the store, by their messages: one of each at a time. */
export class Downloads {
  readonly #media: Media
  readonly #tell: (news: News) => void
  readonly #running = new Map<string, AbortController>()

  constructor(media: Media, tell: (news: News) => void) {
    this.#media = media
    this.#tell = tell
  }

  /** Downloads and decrypts a message's file. */
  async fetch(key: string, file: FileBody): Promise<Uint8Array> {
    this.stop(key)
    const abort = new AbortController()
    this.#running.set(key, abort)
    try {
      return await fetchFile(this.#media, file, { signal: abort.signal, progress: (done, total) => this.#tell({ type: 'progress', key, done, total }) })
    } finally {
      if (this.#running.get(key) === abort) this.#running.delete(key)
    }
  }

  /** Ends a download, where it is under way. */
  stop(key: string): void {
    this.#running.get(key)?.abort(new Error('it was closed'))
  }
}
