import type { Calls } from '../talk.ts'
import { the } from './dom.ts'
import { reads } from './scan.ts'

/** The dialog that links this browser by a code of another device. */
export class Join {
  readonly #dialog = the<HTMLDialogElement>('join')
  readonly #form = the<HTMLFormElement>('join-form')
  readonly #code = the<HTMLInputElement>('join-code')
  readonly #give = the<HTMLButtonElement>('join-give')
  readonly #fault = the('join-fault')

  constructor(worker: Calls) {
    the('join-open').onclick = () => this.#open()
    this.#form.onsubmit = (event) => {
      event.preventDefault()
      this.#say('Asking the other device \u2026')
      this.#give.disabled = true
      worker.join(this.#code.value).then(
        () => this.#joined(),
        (err: Error) => this.#fail(err.message),
      )
    }
    reads(the<HTMLInputElement>('join-scan'), (text) => {
      this.#code.value = text
      this.#form.requestSubmit()
    }, (why) => this.#fail(why))
  }

  /** Older messages can be read here, or a fault says why not. */
  handed(fault: string): void {
    this.#say(`This browser is linked. ${fault || 'What was said before can be read here.'}`)
  }

  #open(): void {
    this.#form.hidden = false
    this.#give.disabled = false
    this.#code.value = ''
    this.#say('')
    this.#dialog.showModal()
    this.#code.focus()
  }

  #joined(): void {
    the('elsewhere').hidden = true
    this.#form.hidden = true
    this.#say('This browser is linked. What was said before is on its way, unless it was left out.')
    the('join-close').focus()
  }

  #fail(fault: string): void {
    this.#give.disabled = false
    this.#say('')
    this.#fault.textContent = fault
    this.#fault.hidden = false
    this.#code.focus()
  }

  #say(text: string): void {
    the('join-state').textContent = text
    this.#fault.hidden = true
  }
}
