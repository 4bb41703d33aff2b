import { load, valueOf, type WasmSource } from './machine.ts'

/** What a message says of a file that lies elsewhere, encrypted: whoever has it can read the file, so it travels inside messages only. */
export interface Attachment {
  /** Of this file alone. */
  key: string
  /** SHA-256 of the encrypted bytes. */
  digest: Uint8Array
  /** Bytes of the file, without padding. */
  size: number
}

/** Encrypts a file for a key of its own. With pad its length tells little: it is filled up by a ninth at most. */
export async function encryptAttachment(file: Uint8Array, pad = true, wasm?: WasmSource): Promise<{ file: Uint8Array; attachment: Attachment }> {
  const { file: sealed, ...attachment } = valueOf((await load(wasm)).encrypt(file, pad))
  return { file: sealed, attachment }
}

/** Decrypts it. Bytes that are not those which were sent throw {@link EncryptionError} `attachment`. */
export async function decryptAttachment(file: Uint8Array, { key, digest, size }: Attachment, wasm?: WasmSource): Promise<Uint8Array> {
  return valueOf((await load(wasm)).decrypt(file, key, digest, size))
}
