/** The longer side of a picture that is sent, and of its thumbnail, px. */
const pictureSide = 1600
const thumbnailSide = 320

/** The largest picture that is read, bytes. */
const sourceBytes = 64 << 20

/** The side of a group's picture, px, and its most bytes: devices that are linked later are given no larger one (docs/encryption.md). */
const groupSide = 128
const groupBytes = 8 << 10

/** A picture as it is sent: JPEG, without what the camera wrote into it. */
export interface Small {
  bytes: Uint8Array
  thumbnail: Uint8Array
}

/** Makes a picture small enough to send. Throws where the browser cannot read it. */
export async function shrink(file: Blob): Promise<Small> {
  const bitmap = await read(file)
  try {
    return { bytes: await whole(bitmap, pictureSide, 0.85), thumbnail: await whole(bitmap, thumbnailSide, 0.6) }
  } finally {
    bitmap.close()
  }
}

/** Makes a group's picture of the middle of one, as JPEG. Throws where the browser cannot read it. */
export async function shrinkForGroup(file: Blob): Promise<Uint8Array> {
  const bitmap = await read(file)
  try {
    const side = Math.min(bitmap.width, bitmap.height)
    const [x, y] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2]
    const canvas = new OffscreenCanvas(groupSide, groupSide)
    let bytes = new Uint8Array()
    for (const quality of [0.9, 0.7, 0.5, 0.3, 0.1]) {
      bytes = await jpeg(canvas, quality, (context) => context.drawImage(bitmap, x, y, side, side, 0, 0, groupSide, groupSide))
      if (bytes.length <= groupBytes) break
    }
    return bytes
  } finally {
    bitmap.close()
  }
}

async function read(file: Blob): Promise<ImageBitmap> {
  if (file.size > sourceBytes) throw new Error('that file is too large: pictures of up to 64 MiB can be sent')
  return createImageBitmap(file).catch(() => {
    throw new Error('that is no picture that this browser can read')
  })
}

function whole(bitmap: ImageBitmap, side: number, quality: number): Promise<Uint8Array> {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height))
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)))
  return jpeg(canvas, quality, (context) => context.drawImage(bitmap, 0, 0, canvas.width, canvas.height))
}

async function jpeg(canvas: OffscreenCanvas, quality: number, draw: (context: OffscreenCanvasRenderingContext2D) => void): Promise<Uint8Array<ArrayBuffer>> {
  const context = canvas.getContext('2d')!
  context.fillStyle = '#fff' // under what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height)
  draw(context)
  const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality })
  return new Uint8Array(await blob.arrayBuffer())
}
