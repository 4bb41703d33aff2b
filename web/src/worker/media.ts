import { type Attachment, decryptAttachment, encryptAttachment } from '../../../sdk/js/src/index.ts'
import { ask, SiteError, type Tokens } from './site.ts'

/** What begins a message's media where it names a blob. */
export const mediaPrefix = 'media:'

/** The type of a message that brings a file: e2ee.TypeFile of the Go SDK. */
export const typeFile = 2

/** How often in a row a part is tried. */
const tries = 5

/** The largest thumbnail that the Go SDK takes. */
const thumbnailBytes = 32 << 10

/** A file as a message of its type carries it: the Go SDK's e2ee.File. Bytes are base64. */
export interface FileBody {
  key: string
  digest: string
  size: number
  blob: string
  name: string
  type: string
  thumbnail?: string
  text?: string
}

interface Slot {
  name: string
  type: string
  part_bytes: number
  complete: boolean
  missing: { part: number; size: number; url: string }[]
}

/** Encrypts a picture's bytes and uploads them; the result has where they are and what opens them. */
export async function upload(tokens: Tokens, bytes: Uint8Array): Promise<Pick<FileBody, 'key' | 'digest' | 'size' | 'blob'>> {
  const { file, attachment } = await encryptAttachment(bytes)
  let slot = await ask<Slot>('POST', '/v1/media', await tokens.get(), { size: file.length, type: 'application/octet-stream', ttl: 0 })
  const path = `/v1/media/${encodeURIComponent(slot.name)}`
  for (let n = 1; !slot.complete && slot.missing.length > 0; n++) {
    for (const { part, size, url } of slot.missing) {
      const at = (part - 1) * slot.part_bytes
      const put = await fetch(url, { method: 'PUT', headers: { 'Content-Type': slot.type }, body: file.slice(at, at + size) })
      if (!put.ok && n === tries) throw new SiteError(put.status, `a part of the picture was answered with ${put.status}`)
    }
    slot = await ask<Slot>('GET', `${path}/slot`, await tokens.get())
  }
  if (!slot.complete) await ask('POST', `${path}/end`, await tokens.get())
  return { key: attachment.key, digest: base64(attachment.digest), size: attachment.size, blob: slot.name }
}

/** Downloads and decrypts a file. */
export async function download(tokens: Tokens, body: FileBody): Promise<Uint8Array> {
  const { url } = await ask<{ url: string }>('GET', `/v1/media/${encodeURIComponent(body.blob)}`, await tokens.get())
  const got = await fetch(url)
  if (!got.ok) throw new SiteError(got.status, `the download was answered with ${got.status}`)
  const attachment: Attachment = { key: body.key, digest: bytesOf(body.digest), size: body.size }
  return decryptAttachment(new Uint8Array(await got.arrayBuffer()), attachment)
}

/** Reads what a message of a file says; null: nothing that is one. */
export function fileOf(content: Uint8Array): FileBody | null {
  try {
    const f = JSON.parse(new TextDecoder().decode(content)) as FileBody
    const texts = [f.key, f.digest, f.blob, f.name, f.type, f.thumbnail ?? '', f.text ?? '']
    if (!f.blob || !(f.size >= 0) || texts.some((each) => typeof each !== 'string')) return null
    if ((f.thumbnail ?? '').length > (thumbnailBytes * 4) / 3 + 4) return null
    return { ...f, name: f.name.replace(/^.*[/\\]/, '').replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, '_') || 'file' }
  } catch {
    return null
  }
}

export function base64(bytes: Uint8Array): string {
  let s = ''
  for (const b of bytes) s += String.fromCharCode(b)
  return btoa(s)
}

export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
}
