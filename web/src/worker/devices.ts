import { type Client, EncryptionError, type LinkedHistoryEvent, type LinkUsedEvent } from '../../../sdk/js/src/index.ts'
import type { Device, DeviceCalls, News } from '../talk.ts'

/** For so long the device that shows a code may leave it unanswered: it is connected, or it is not. */
const joinMs = 30_000

/** Whose devices they are. */
export interface Linker {
  /** The name of this one. */
  readonly device: string
  /** Throws where there is no connection. */
  connected(): Client
  tell(news: News): void
  /** This browser is linked. */
  joined(client: Client): void
  /** It was given what older messages are read by: reads them. */
  given(client: Client): Promise<void>
  /** Tokens of before are good no more. */
  revoked(): void
}

/** The user's devices: their names, and how one is linked, or goes. */
export class Devices implements DeviceCalls {
  readonly #linker: Linker

  constructor(linker: Linker) {
    this.#linker = linker
  }

  async devices(): Promise<Device[]> {
    const client = this.#linker.connected()
    const all = (await client.devices()).filter((each) => each.revoked === 0)
    return all.map(({ device: name, label, created: since }) => ({ name, label, since, here: name === this.#linker.device }))
  }

  async nameDevice(name: string, label: string): Promise<void> {
    await this.#linker.connected().labelDevice(name, label)
  }

  async revokeDevice(name: string): Promise<void> {
    await this.#linker.connected().removeDevice(name)
    this.#linker.revoked()
  }

  async offerLink(history: boolean, without: string[]): Promise<string> {
    return this.#linker.connected().offerLink({ history, without })
  }

  async withdrawLink(): Promise<void> {
    this.#linker.connected().withdrawLink()
  }

  async join(code: string): Promise<void> {
    const client = this.#linker.connected()
    try {
      await client.join(code, AbortSignal.timeout(joinMs))
    } catch (err) {
      throw new Error(whyNotLinked(err), { cause: err })
    }
    this.#linker.joined(client)
  }

  /** A device gave the code that is shown here. */
  used({ device, error }: LinkUsedEvent): void {
    this.#linker.tell({ type: 'link_used', device, fault: error ? whyNotLinked(error) : '' })
  }

  /** History was handed over: told when what is here has been read again. */
  async handed(client: Client, { device, given, error }: LinkedHistoryEvent): Promise<void> {
    if (!given && !error) await this.#linker.given(client)
    this.#linker.tell({ type: 'handed', device, given, fault: error ? whyNoHistory(error) : '' })
  }
}

function whyNotLinked(err: unknown): string {
  switch (err instanceof EncryptionError ? err.reason : '') {
    case 'link_code':
      return 'That is not the code that the other device shows now.'
    case 'link_identity':
      return 'The code is of another user, or somebody stands in between: the server names another identity.'
    case 'linked':
      return 'This browser is linked already.'
    case 'not_linked':
      return 'The other device did not answer. Is it connected, and does it still show the code?'
    case 'no_keys':
      return 'No other device has this name.'
  }
  return err instanceof Error ? err.message : String(err)
}

function whyNoHistory(err: Error): string {
  if (err instanceof EncryptionError && err.reason === 'no_history') return 'What was said before was not handed over.'
  return `Not all that was said before was handed over: ${err.message}`
}
