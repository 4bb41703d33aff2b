import type { Calls, Message } from '../talk.ts'
import { make, the } from './dom.ts'

/** Pictures and files: small in their message, whole in a dialog. */
export class Viewer {
  readonly #worker: Calls
  readonly #dialog = the<HTMLDialogElement>('picture')
  readonly #view = the<HTMLImageElement>('picture-view')
  readonly #save = the<HTMLAnchorElement>('picture-save')
  readonly #bar = the<HTMLProgressElement>('picture-progress')
  #url = ''
  #key = ''
  #turn = 0 // counts openings and closings: what was asked for before is nothing to a later one

  constructor(worker: Calls) {
    this.#worker = worker
    this.#dialog.onclose = () => this.#forget()
  }

  /** A file as its message shows it. */
  button(message: Message): HTMLButtonElement {
    const { name, thumbnail } = message.file!
    const button = make('button', 'file')
    button.type = 'button'
    if (thumbnail) {
      const img = make('img')
      img.src = URL.createObjectURL(new Blob([thumbnail.slice()], { type: 'image/jpeg' }))
      img.onload = img.onerror = () => URL.revokeObjectURL(img.src)
      img.alt = `Open ${name}`
      button.append(img)
    } else button.append(make('span', '', name))
    button.onclick = () => void this.#open(message)
    return button
  }

  async #open({ key, file }: Message): Promise<void> {
    const state = the('picture-state')
    the('picture-name').textContent = file!.name
    state.textContent = 'Downloading and decrypting …'
    this.#key = key
    const turn = ++this.#turn
    this.#bar.value = 0
    this.#bar.hidden = false
    this.#dialog.showModal()
    try {
      const blob = await this.#worker.fetch(key)
      if (this.#turn !== turn) return
      this.#url = URL.createObjectURL(blob)
      state.textContent = ''
      this.#save.href = this.#url
      this.#save.download = file!.name
      this.#save.hidden = false
      if (!blob.type.startsWith('image/')) return
      this.#view.src = this.#url
      this.#view.alt = file!.name
      this.#view.hidden = false
    } catch (err) {
      if (this.#turn === turn) state.textContent = err instanceof Error ? err.message : String(err)
    } finally {
      if (this.#turn === turn) this.#bar.hidden = true
    }
  }

  /** Shows how far the download of a message's file is. */
  progress(key: string, share: number): void {
    if (key === this.#key) this.#bar.value = share
  }

  /** The dialog was closed; what it waited for is not wanted any more. */
  #forget(): void {
    this.#turn++
    void this.#worker.stopFetch(this.#key)
    if (this.#url) URL.revokeObjectURL(this.#url)
    this.#url = this.#key = ''
    this.#view.hidden = this.#save.hidden = true
    this.#view.removeAttribute('src')
  }
}
