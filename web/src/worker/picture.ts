/** The longer side of a picture that is sent, and of its thumbnail, px. */
const pictureSide = 1600
const thumbnailSide = 320

/** The largest picture that is read, bytes. */
const sourceBytes = 64 << 20

/** A picture as it is sent: JPEG, without what the camera wrote into it. */
export interface Small {
  bytes: Uint8Array
  thumbnail: Uint8Array
}

/** Makes a picture small enough to send. Throws where the browser cannot read it. */
export async function shrink(file: Blob): Promise<Small> {
  if (file.size > sourceBytes) throw new Error('that file is too large: pictures of up to 64 MiB can be sent')
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error('that is no picture that this browser can read')
  })
  try {
    return { bytes: await jpeg(bitmap, pictureSide, 0.85), thumbnail: await jpeg(bitmap, thumbnailSide, 0.6) }
  } finally {
    bitmap.close()
  }
}

async function jpeg(bitmap: ImageBitmap, side: number, quality: number): Promise<Uint8Array> {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height))
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)))
  const context = canvas.getContext('2d')!
  context.fillStyle = '#fff' // under what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height)
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality })
  return new Uint8Array(await blob.arrayBuffer())
}
