import type { Calls } from '../talk.ts'
import { the } from './dom.ts'

/** The dialog with the safety number of a chat. */
export class Safety {
  readonly #worker: Calls
  readonly #dialog = the<HTMLDialogElement>('number')
  readonly #digits = the('digits')
  readonly #verified = the<HTMLInputElement>('verified')
  #peer = ''

  constructor(worker: Calls) {
    this.#worker = worker
    this.#verified.onchange = () => void this.#worker.verify(this.#peer, this.#verified.checked).catch((err: Error) => this.#say(err.message))
  }

  async open(peer: string): Promise<void> {
    this.#peer = peer
    the('number-title').textContent = `Safety number with ${peer}`
    this.#say('…')
    this.#verified.disabled = true
    this.#dialog.showModal()
    try {
      const { digits, verified } = await this.#worker.safety(peer)
      this.#say(digits)
      this.#verified.checked = verified
      this.#verified.disabled = false
    } catch (err) {
      this.#say(err instanceof Error ? err.message : String(err))
    }
  }

  #say(text: string): void {
    this.#digits.textContent = text
  }
}
