import { typeFile } from '../content.ts'
import { ChatError } from '../errors.ts'
import { type DownloadOptions, type Media, mediaPrefix, type Progress } from '../media.ts'
import type { SendOptions } from '../outgoing.ts'
import type { Sent } from '../sent.ts'
import { decryptAttachment, encryptAttachment } from './attachment.ts'
import type { Client } from './client.ts'

/** The largest thumbnail, bytes. */
export const maxThumbnailBytes = 32 << 10

/** What encryption and padding add at most, beside an eighth. */
const overheadBytes = 4096

/** A file as a message of {@link typeFile} carries it. Bytes are base64. */
export interface FileBody {
  /** What opens it: of this file alone. */
  key: string
  /** SHA-256 of the encrypted bytes. */
  digest: string
  /** Bytes of the file. */
  size: number
  /** Its name in the store. */
  blob: string
  /** For people; never a path. */
  name: string
  /** Its content type, for people. */
  type: string
  /** A small picture, {@link maxThumbnailBytes} at most. */
  thumbnail?: string
  /** Beside it. */
  text?: string
}

/** A file to send. */
export interface FileToSend {
  bytes: Uint8Array
  name: string
  type: string
  thumbnail?: Uint8Array
  text?: string
  progress?: Progress
}

/**
 * Encrypts a file with a key of its own, uploads it, and sends a message that brings it, which lives as {@link Client.sendBody}'s does. The upload goes on after interruptions
 * of the network; who wants it to go on after an end of the page does the steps alone: {@link encryptAttachment}, {@link Media.upload}
 * with `name`, {@link Client.sendTyped} of a {@link FileBody} as JSON.
 */
export async function sendFile(client: Client, media: Media, to: string, file: FileToSend, options: SendOptions = {}, signal?: AbortSignal): Promise<Sent> {
  const { bytes, name, type, thumbnail, text = '', progress } = file
  if (thumbnail && thumbnail.length > maxThumbnailBytes) throw new ChatError('too_large', `a thumbnail has at most ${maxThumbnailBytes} bytes`)
  const ttlSeconds = options.ttlSeconds || client.timer(to)
  const { file: sealed, attachment } = await encryptAttachment(bytes)
  const blob = await media.upload(sealed, { ttlSeconds, ...(progress && { progress }), ...(signal && { signal }) })
  const { key, digest, size } = attachment
  const body: FileBody = { key, digest: base64(digest), size, blob, name, type, text, ...(thumbnail && { thumbnail: base64(thumbnail) }) }
  try {
    return await client.sendTyped(to, typeFile, JSON.stringify(body), { ...options, ttlSeconds, media: mediaPrefix + blob }, signal)
  } catch (err) {
    await media.drop(blob).catch(() => {}) // nobody can read it
    throw err
  }
}

/** Downloads and decrypts a file. Bytes that are not those which were sent throw {@link EncryptionError} `attachment`. */
export async function fetchFile(media: Media, { blob, key, digest, size }: FileBody, options: DownloadOptions = {}): Promise<Uint8Array> {
  const maxBytes = size + size / 8 + overheadBytes
  return decryptAttachment(await media.download(blob, { maxBytes, ...options }), { key, digest: bytesOfBase64(digest), size })
}

/** Reads what a message of {@link typeFile} says; null: nothing that is a file. A name that is a path becomes a plain one. */
export function fileOf(content: Uint8Array): FileBody | null {
  try {
    const f = JSON.parse(new TextDecoder().decode(content)) as FileBody
    const texts = [f.key, f.digest, f.blob, f.name, f.type, f.thumbnail ?? '', f.text ?? '']
    if (!f.blob || !(f.size >= 0) || texts.some((each) => typeof each !== 'string')) return null
    if ((f.thumbnail ?? '').length > (maxThumbnailBytes * 4) / 3 + 4) return null
    return { ...f, name: f.name.replace(/^.*[/\\]/, '').replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, '_') || 'file' }
  } catch {
    return null
  }
}

/** Bytes as base64, as a {@link FileBody} has them. */
export function base64(bytes: Uint8Array): string {
  let s = ''
  for (const b of bytes) s += String.fromCharCode(b)
  return btoa(s)
}

/** Takes {@link base64} back. */
export function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
}
