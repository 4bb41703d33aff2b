import type { Calls } from '../talk.ts'
import { the } from './dom.ts'
import { drawCode, reads } from './scan.ts'

/** How the text of every safety code begins. */
const safetyCode = 'ROOKERY-SAFETY:'

/** The dialog with the safety number of a chat. */
export class Safety {
  readonly #worker: Calls
  readonly #dialog = the<HTMLDialogElement>('number')
  readonly #digits = the('digits')
  readonly #code = the<SVGElement & HTMLElement>('number-code')
  readonly #scan = the<HTMLInputElement>('number-scan')
  readonly #verified = the<HTMLInputElement>('verified')
  readonly #fault = the('number-fault')
  #peer = ''
  #text = ''

  constructor(worker: Calls) {
    this.#worker = worker
    this.#verified.onchange = () => void this.#verify(this.#verified.checked)
    reads(this.#scan, (text) => void this.#scanned(text), (why) => this.#fail(why))
  }

  async open(peer: string): Promise<void> {
    this.#peer = peer
    the('number-title').textContent = `Safety number with ${peer}`
    this.#say('')
    this.#digits.textContent = '…'
    this.#show('')
    this.#dialog.showModal()
    try {
      const { digits, qr, verified } = await this.#worker.safety(peer)
      if (peer !== this.#peer) return
      this.#digits.textContent = digits
      this.#verified.checked = verified
      this.#show(qr)
    } catch (err) {
      this.#digits.textContent = ''
      this.#fail(err instanceof Error ? err.message : String(err))
    }
  }

  /** Shows a code, which can be compared then; '' is none. */
  #show(text: string): void {
    this.#text = text
    this.#verified.disabled = this.#scan.disabled = !text
    drawCode(this.#code, text).catch(() => {}) // the digits are there
  }

  async #scanned(text: string): Promise<void> {
    if (text === this.#text) {
      if (await this.#verify(true)) this.#say('The codes are the same: nobody stands in between.')
    } else if (text.startsWith(safetyCode)) {
      this.#fail(`That is another code. It is of another chat than this one, or somebody stands between you and ${this.#peer}.`)
    } else {
      this.#fail('That is no code of a safety number.')
    }
  }

  async #verify(verified: boolean): Promise<boolean> {
    try {
      await this.#worker.verify(this.#peer, verified)
      this.#verified.checked = verified
      this.#say('')
      return true
    } catch (err) {
      this.#fail((err as Error).message)
      return false
    }
  }

  #say(text: string): void {
    the('number-state').textContent = text
    this.#fault.hidden = true
  }

  #fail(text: string): void {
    the('number-state').textContent = ''
    this.#fault.textContent = text
    this.#fault.hidden = false
  }
}
