// A bundle of its own, fetched when a code is shown or read: the page begins without it.
import encode from 'qr'
import decode from 'qr/decode.js'

/** Light modules around a code (ISO/IEC 18004). */
const quiet = 4
/** A larger photo is made smaller before it is looked through. */
const photoSide = 1600

/** A QR code as the path of an SVG in which a module is a unit, and how many modules it has a side. */
export function draw(text: string): { path: string; side: number } {
  const rows = encode(text, 'raw', { ecc: 'medium', border: quiet })
  const path = rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : '')))
  return { path: path.join(''), side: rows.length }
}

/** The text of the QR code in a photo. Throws where it has none. */
export async function read(photo: Blob): Promise<string> {
  const image = await createImageBitmap(photo)
  const scale = Math.min(1, photoSide / Math.max(image.width, image.height))
  const [width, height] = [Math.round(image.width * scale), Math.round(image.height * scale)]
  const context = new OffscreenCanvas(width, height).getContext('2d')!
  context.drawImage(image, 0, 0, width, height)
  image.close()
  return decode(context.getImageData(0, 0, width, height))
}
