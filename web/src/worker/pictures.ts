import type { News } from '../talk.ts'
import type { Store } from './store.ts'

/** The pictures of groups as they were given, end to end: kept sealed, by the groups' names, and told to the page. */
export class GroupPictures {
  readonly #store: Store
  readonly #tell: (news: News) => void
  readonly #known = new Map<string, Uint8Array>()

  constructor(store: Store, tell: (news: News) => void) {
    this.#store = store
    this.#tell = tell
  }

  /** Takes up what an earlier page kept of groups. */
  async restore(groups: string[]): Promise<void> {
    for (const peer of groups) {
      const picture = await this.#store.file(peer)
      if (picture && !this.#known.has(peer)) this.#show(peer, picture)
    }
  }

  /** Takes in the picture that a group has now; null: none. Reports whether it had another one. */
  async take(peer: string, picture: Uint8Array | null): Promise<boolean> {
    const before = this.#known.get(peer) ?? null
    if (before === picture || (before && picture && before.length === picture.length && before.every((byte, i) => byte === picture[i]))) return false
    this.#show(peer, picture)
    await (picture ? this.#store.putFile(peer, picture) : this.#store.dropFile(peer))
    return true
  }

  #show(peer: string, picture: Uint8Array | null): void {
    if (picture) this.#known.set(peer, picture)
    else this.#known.delete(peer)
    this.#tell({ type: 'picture', peer, picture })
  }
}
