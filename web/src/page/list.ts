import { maxUnread } from '../../../sdk/js/src/unread.ts'
import type { Chat } from '../talk.ts'
import { make, the, time } from './dom.ts'
import { changeText } from './changes.ts'
import { timerText } from './life.ts'
import type { Faces } from './faces.ts'
import { tick } from './ticks.ts'

/** The list of chats, newest first. Up and down go through it. */
export class List {
  readonly #list = the('chats')
  readonly #items = new Map<string, HTMLLIElement>()
  readonly #me: string
  readonly #faces: Faces
  readonly #open: (peer: string) => void

  constructor(me: string, faces: Faces, open: (peer: string) => void) {
    this.#me = me
    this.#faces = faces
    this.#open = open
    this.#list.addEventListener('keydown', (event) => {
      if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return
      event.preventDefault()
      const item = (event.target as HTMLElement).closest('li')
      const to = event.key === 'ArrowDown' ? item?.nextElementSibling : item?.previousElementSibling
      to?.querySelector('button')?.focus()
    })
  }

  /** Shows the chats. Who has the focus keeps it. */
  show(chats: Chat[], open: string, here: ReadonlySet<string>): void {
    const at = (chat: Chat) => chat.last?.at ?? Number.MAX_SAFE_INTEGER // one without messages was begun just now
    const sorted = [...chats].sort((a, b) => at(b) - at(a))
    const focused = document.activeElement
    for (const [i, chat] of sorted.entries()) {
      let item = this.#items.get(chat.peer)
      if (!item) {
        const button = make('button')
        button.dataset['peer'] = chat.peer
        button.onclick = () => this.#open(chat.peer)
        item = make('li', '', button)
        this.#items.set(chat.peer, item)
      }
      this.#fill(item.firstElementChild as HTMLButtonElement, chat, chat.peer === open, here.has(chat.peer))
      if (this.#list.children[i] !== item) this.#list.insertBefore(item, this.#list.children[i] ?? null)
    }
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.#list.contains(focused)) focused.focus()
  }

  #fill(button: HTMLButtonElement, chat: Chat, open: boolean, here: boolean): void {
    const { last } = chat
    const peer = make('span', here ? 'peer here' : 'peer', chat.title)
    if (here) peer.append(make('span', 'for-ears', ', here now'))
    const said = make('span', 'said')
    if (last?.mine && !last.change && last.timer === null && !chat.blocked) said.append(tick(last, chat))
    said.append(make('span', '', this.#said(chat)))
    button.replaceChildren(...(chat.group ? [this.#face(button, chat.peer)] : []), peer, last ? time(last.at) : '', said)
    if (chat.unread > 0) button.append(make('span', 'unread', chat.unread > maxUnread ? `${maxUnread}+` : String(chat.unread), make('span', 'for-ears', ' unread')))
    if (open) button.setAttribute('aria-current', 'true')
    else button.removeAttribute('aria-current')
  }

  /** A group's picture. */
  #face(button: HTMLButtonElement, peer: string): HTMLImageElement {
    const img = button.querySelector('img') ?? make('img', 'face')
    img.alt = '' // its title is beside it
    this.#faces.show(img, peer)
    return img
  }

  /** The last message in a line. */
  #said({ changed, group, last, blocked, blockFault }: Chat): string {
    if (blockFault) return blockFault
    if (blocked) return 'Blocked'
    if (changed) return 'The safety number has changed'
    if (!last) return ''
    if (last.timer !== null) return timerText(last)
    if (last.deleted) return last.mine ? 'You deleted this message' : 'This message was deleted'
    if (last.change) return changeText(last, this.#me)
    return (group && !last.mine ? `${last.from}: ` : '') + (last.text || (last.file ? 'Picture' : last.note))
  }
}
