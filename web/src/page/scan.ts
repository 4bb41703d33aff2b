/** The bundle of code.ts. */
const code = (): Promise<typeof import('./code.ts')> => import('/code.js' as string)

/** Draws a text as a QR code; '' draws nothing. */
export async function drawCode(svg: SVGElement, text: string): Promise<void> {
  const path = svg.querySelector('path')!
  path.setAttribute('d', '')
  if (!text) return
  const { draw } = await code()
  const drawn = draw(text)
  svg.setAttribute('viewBox', `0 0 ${drawn.side} ${drawn.side}`)
  path.setAttribute('d', drawn.path)
}

/** Reads the codes of photos that are chosen, or taken on a phone. */
export function reads(input: HTMLInputElement, take: (text: string) => void, fail: (why: string) => void): void {
  input.onchange = async () => {
    const [photo] = input.files!
    if (!photo) return
    try {
      const { read } = await code()
      take(await read(photo))
    } catch {
      fail('No code could be read in that photo. It has to be sharp, and the whole code in it.')
    } finally {
      input.value = '' // so that the same one can be chosen again
    }
  }
}
