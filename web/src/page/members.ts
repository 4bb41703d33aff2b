import type { Member } from '../../../sdk/js/src/index.ts'
import type { Calls, Chat } from '../talk.ts'
import { actButton, make, the } from './dom.ts'
import type { Faces } from './faces.ts'

/** Names as they are typed: between them spaces or commas. */
export function namesOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter((each) => each !== ''))]
}

/** Says what of names cannot be a user's; '': nothing. */
export function faultOf(names: string[]): string {
  const bad = names.find((each) => !/^[\w.@+-]{1,64}$/.test(each))
  return bad === undefined ? '' : `\u201c${bad}\u201d cannot be a name: letters, digits and _ . @ + -`
}

/** The dialog that makes a group. */
export class NewGroup {
  readonly #dialog = the<HTMLDialogElement>('new-group')
  readonly #name = the<HTMLInputElement>('group-name')
  readonly #users = the<HTMLInputElement>('group-users')
  readonly #fault = the('group-fault')

  /** made hears by what the group goes. */
  constructor(worker: Calls, made: (peer: string) => void) {
    the('group-open').onclick = () => this.#open()
    the('group-cancel').onclick = () => this.#dialog.close()
    the('group-make').onsubmit = (event) => {
      event.preventDefault()
      const users = namesOf(this.#users.value)
      const fault = faultOf(users)
      if (fault) return this.#say(fault)
      worker.createGroup(this.#name.value.trim(), users).then(
        (peer) => {
          this.#dialog.close()
          made(peer)
        },
        (err: Error) => this.#say(err.message),
      )
    }
  }

  #open(): void {
    this.#name.value = this.#users.value = ''
    this.#fault.hidden = true
    this.#dialog.showModal()
    this.#name.focus()
  }

  #say(fault: string): void {
    this.#fault.textContent = fault
    this.#fault.hidden = false
  }
}

/** The dialog with a group's members, where admins change them. */
export class Members {
  readonly #worker: Calls
  readonly #me: string
  readonly #dialog = the<HTMLDialogElement>('members')
  readonly #list = the('member-list')
  readonly #users = the<HTMLInputElement>('invite-users')
  readonly #name = the<HTMLInputElement>('rename')
  readonly #fault = the('members-fault')
  readonly #faces: Faces
  readonly #face = the<HTMLImageElement>('members-face')
  readonly #picture = the<HTMLInputElement>('group-picture')
  readonly #safety: (user: string) => void
  #chat: Chat | null = null

  /** safety shows the safety number with a member. */
  constructor(worker: Calls, me: string, faces: Faces, safety: (user: string) => void) {
    this.#worker = worker
    this.#me = me
    this.#faces = faces
    this.#safety = safety
    the('invite').onsubmit = (event) => {
      event.preventDefault()
      const users = namesOf(this.#users.value)
      const fault = faultOf(users)
      if (fault) return this.#say(fault)
      this.#do(this.#worker.changeGroup(this.#peer, 'add', users))
      this.#users.value = ''
    }
    the('name-group').onsubmit = (event) => {
      event.preventDefault()
      this.#do(this.#worker.nameGroup(this.#peer, this.#name.value.trim()))
    }
    this.#picture.onchange = () => {
      const [file] = this.#picture.files!
      if (file) this.#do(this.#worker.pictureGroup(this.#peer, file))
      this.#picture.value = '' // so that the same one can be chosen again
    }
    the('no-picture').onclick = () => {
      this.#picture.focus() // the button goes
      this.#do(this.#worker.pictureGroup(this.#peer, null))
    }
    the('leave').onclick = () => {
      this.#do(this.#worker.changeGroup(this.#peer, 'leave', []))
      this.#dialog.close()
    }
  }

  get #peer(): string {
    return this.#chat?.peer ?? ''
  }

  open(chat: Chat, members: readonly Member[]): void {
    this.#chat = chat
    this.#fault.hidden = true
    this.#users.value = ''
    this.#name.value = chat.name
    the<HTMLDetailsElement>('leaving').open = false
    this.#list.replaceChildren()
    this.show(chat, members)
    this.#dialog.showModal()
  }

  /** Takes in who is in a group now. */
  show(chat: Chat, members: readonly Member[]): void {
    if (chat.peer !== this.#peer) return
    the('members-title').textContent = chat.title
    this.#faces.show(this.#face, chat.peer)
    this.#face.alt = `Picture of ${chat.title}`
    the('no-picture').hidden = !this.#faces.has(chat.peer)
    the('members-count').textContent = chat.out ? 'You are no member any more.' : members.length === 0 ? 'Who is here is asked for when there is a connection.' : `${members.length} ${members.length === 1 ? 'member' : 'members'}`
    const admin = members.some((m) => m.user === this.#me && m.admin)
    the('administration').hidden = !admin || chat.out
    the('leaving').hidden = chat.out
    const focused = document.activeElement?.closest<HTMLElement>('#member-list button')
    this.#list.replaceChildren(...members.map((m) => this.#item(m, admin)))
    if (focused) this.#refocus(focused.closest('li')!.dataset['user']!, focused.dataset['act']!)
  }

  /** Who was at a button of a member goes on there, though the list was made anew. */
  #refocus(user: string, act: string): void {
    const item = [...this.#list.children].find((each) => (each as HTMLElement).dataset['user'] === user)
    const button = item?.querySelector<HTMLElement>(`[data-act="${act}"]`) ?? item?.querySelector('button') ?? this.#dialog.querySelector<HTMLElement>('form[method] button')
    button?.focus()
  }

  #item({ user, admin }: Member, mayChange: boolean): HTMLLIElement {
    const me = user === this.#me
    const item = make('li', '', make('span', 'member', me ? `${user} (you)` : user), admin ? make('span', 'badge', 'admin') : '')
    item.dataset['user'] = user
    const acts = make('span', 'acts')
    if (!me) acts.append(actButton('safety', 'Safety number', `Safety number with ${user}`, () => this.#safety(user)))
    if (mayChange) {
      if (admin) acts.append(actButton('admin', 'No admin', `No admin: ${user}`, () => this.#change('member', user)))
      else acts.append(actButton('admin', 'Make admin', `Make admin: ${user}`, () => this.#change('admin', user)))
      if (!me) acts.append(actButton('remove', 'Remove', `Remove ${user}`, () => this.#change('remove', user)))
    }
    if (acts.childElementCount > 0) item.append(acts)
    return item
  }

  #change(verb: 'admin' | 'member' | 'remove', user: string): void {
    this.#do(this.#worker.changeGroup(this.#peer, verb, [user]))
  }

  #do(done: Promise<void>): void {
    this.#fault.hidden = true
    done.catch((err: Error) => this.#say(err.message))
  }

  #say(fault: string): void {
    this.#fault.textContent = fault
    this.#fault.hidden = false
  }
}
