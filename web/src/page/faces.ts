/** The pictures of groups, and the elements that show them. */
export class Faces {
  readonly #urls = new Map<string, string>()

  /** Takes in a group's picture; null: it has none. */
  take(peer: string, picture: Uint8Array | null): void {
    const before = this.#urls.get(peer)
    if (picture) this.#urls.set(peer, URL.createObjectURL(new Blob([picture.slice()], { type: 'image/jpeg' }))) // browsers look at the bytes
    else this.#urls.delete(peer)
    for (const img of document.querySelectorAll<HTMLImageElement>('img.face')) if (img.dataset['peer'] === peer) this.show(img, peer)
    if (before) URL.revokeObjectURL(before)
  }

  has(peer: string): boolean {
    return this.#urls.has(peer)
  }

  /** Has an element show the picture of a chat. It is hidden where there is none, or none that the browser can read. */
  show(img: HTMLImageElement, peer: string): void {
    const url = this.#urls.get(peer) ?? ''
    img.dataset['peer'] = peer
    if (!url) {
      img.hidden = true
      img.removeAttribute('src')
    } else if (img.getAttribute('src') !== url) {
      img.hidden = false
      img.onerror = () => (img.hidden = true)
      img.src = url
    }
  }
}
