import type { Member } from '../../../sdk/js/src/index.ts'
import type { Calls, Chat, News, State } from '../talk.ts'
import { About } from './about.ts'
import { Conversation } from './conversation.ts'
import { Devices } from './devices.ts'
import { the, timeText } from './dom.ts'
import { Faces } from './faces.ts'
import { Join } from './join.ts'
import { lifeText } from './life.ts'
import { List } from './list.ts'
import { Members, NewGroup } from './members.ts'
import { Safety } from './safety.ts'
import { Viewer } from './viewer.ts'
import { startWorker } from './worker.ts'

/** After so long somebody who said to be typing is not any more. */
const typingEndsMs = 10_000

/** While something written to the open group is not read by all, it is asked so often how far they are. */
const lookEveryMs = 5000

/** Who this tab is, over reloads. Another tab may be somebody else. */
const whoKey = 'rookery.user'
/** How long is waited for a frame before what has changed is drawn without. */
const lateFrameMs = 100

/** Who was here in this browser. */
const namesKey = 'rookery.names'

const states: Record<State, string> = {
  starting: 'Starting …',
  offline: 'No connection. What you write is sent when there is one.',
  online: 'Connected, end-to-end encrypted',
  aeroplane: 'Aeroplane mode. What you write is sent afterwards.',
  elsewhere: 'Not linked',
  revoked: 'No device of yours any more',
  stopped: 'Stopped',
}

/** The page, once somebody is here. */
class App {
  readonly #user: string
  readonly #worker: Calls
  readonly #faces = new Faces()
  readonly #list: List
  readonly #viewer: Viewer
  readonly #conversation: Conversation
  readonly #membersDialog: Members
  readonly #about: About
  readonly #devices: Devices
  readonly #join: Join
  readonly #members = new Map<string, readonly Member[]>()
  readonly #chats = new Map<string, Chat>()
  readonly #here = new Set<string>()
  readonly #seen = new Map<string, number>()
  readonly #typing = new Map<string, number>()
  #drawing = false

  constructor(user: string) {
    this.#user = user
    this.#worker = startWorker((news) => this.#take(news))
    this.#list = new List(user, this.#faces, (peer) => this.#go(peer))
    this.#viewer = new Viewer(this.#worker)
    this.#conversation = new Conversation(this.#worker, user, this.#viewer, this.#faces)
    const safety = new Safety(this.#worker)
    this.#membersDialog = new Members(this.#worker, user, this.#faces, (peer) => void safety.open(peer))
    this.#about = new About(this.#worker)
    this.#devices = new Devices(this.#worker, () => [...this.#chats.values()])
    this.#join = new Join(this.#worker)
    the('about-open').onclick = () => this.#about.open()
    new NewGroup(this.#worker, (peer) => this.#go(peer))
    the('me').textContent = user
    the('members-open').onclick = () => {
      const chat = this.#chats.get(this.#conversation.peer)
      if (!chat) return
      this.#membersDialog.open(chat, this.#members.get(chat.peer) ?? [])
      void this.#worker.look(chat.peer)
    }
    setInterval(() => {
      if (this.#conversation.waits && document.visibilityState === 'visible') void this.#worker.look(this.#conversation.peer)
    }, lookEveryMs)
    the('safety').onclick = the('compare').onclick = () => void safety.open(this.#conversation.peer)
    the('accept').onclick = () => void this.#worker.accept(this.#conversation.peer).catch((err: Error) => this.#state('offline', err.message))
    the('take-over').onclick = () => {
      the('elsewhere').hidden = true
      void this.#worker.open(this.#user, true)
    }
    the('forget').onclick = () => void this.#worker.forget().then(() => location.reload(), (err: Error) => this.#state('stopped', err.message))
    const aeroplane = the<HTMLInputElement>('aeroplane')
    aeroplane.checked = false // some browsers keep it over a reload
    aeroplane.onchange = () => void this.#worker.aeroplane(aeroplane.checked)
    the('begin').onsubmit = (event) => {
      event.preventDefault()
      const peer = the<HTMLInputElement>('peer')
      void this.#begin(peer.value.trim())
      peer.value = ''
    }
    the('back').onclick = () => this.#go('')
    window.onhashchange = () => void this.#follow()
    document.onvisibilitychange = window.onfocus = () => this.#shown()
    document.onkeydown = (event) => this.#key(event)
    the('app').hidden = false
    void this.#start()
  }

  async #start(): Promise<void> {
    try {
      await this.#worker.open(this.#user, false)
    } catch (err) {
      this.#state('stopped', (err as Error).message)
      return
    }
    await this.#follow()
    if (!this.#conversation.peer) the('peer').focus()
  }

  #key(event: KeyboardEvent): void {
    if (event.key === 'k' && (event.ctrlKey || event.metaKey) && !document.querySelector('dialog[open]')) {
      event.preventDefault()
      if (narrow()) this.#go('')
      the('peer').focus()
    } else if (event.key === 'Escape' && this.#conversation.peer && !document.querySelector('dialog[open]')) {
      if (narrow()) this.#go('')
      the('chats').querySelector<HTMLElement>('[aria-current]')?.focus()
    }
  }

  async #begin(peer: string): Promise<void> {
    await this.#worker.begin(peer)
    this.#go(peer)
  }

  /** The open chat is in the address: a reload comes back to it, and the browser's way back is the page's. */
  #go(peer: string): void {
    const hash = peer ? `#${encodeURIComponent(peer)}` : ''
    if (location.hash === hash) return void this.#follow()
    if (peer) location.hash = hash
    else {
      history.pushState(null, '', location.pathname)
      void this.#follow()
    }
  }

  async #follow(): Promise<void> {
    const chat = this.#chats.get(decodeURIComponent(location.hash.slice(1))) ?? null
    the('app').classList.toggle('open', chat !== null)
    the('chat').hidden = chat === null
    the('nobody').hidden = chat !== null
    const before = this.#conversation.peer
    the('safety').hidden = chat?.group ?? false
    the('members-open').hidden = !chat?.group
    if (chat?.group) void this.#worker.look(chat.peer)
    if (chat) this.#about.show(chat)
    await this.#conversation.open(chat, chat ? this.#members.get(chat.peer) : [])
    this.#draw()
    if (chat) the(chat.out || chat.blocked ? 'log' : 'text').focus()
    else if (before) [...the('chats').querySelectorAll('button')].find((each) => each.dataset['peer'] === before)?.focus()
    this.#shown()
  }

  #take(news: News): void {
    switch (news.type) {
      case 'state':
        return this.#state(news.state, news.text)
      case 'longest':
        return void (this.#about.longest = news.seconds)
      case 'chat':
        this.#takeChat(news.chat)
        break
      case 'picture': {
        this.#faces.take(news.peer, news.picture)
        const chat = this.#chats.get(news.peer)
        if (chat) this.#membersDialog.show(chat, this.#members.get(news.peer) ?? [])
        return
      }
      case 'members':
        this.#members.set(news.peer, news.members)
        if (news.peer === this.#conversation.peer) this.#conversation.know(news.members)
        if (this.#chats.has(news.peer)) this.#membersDialog.show(this.#chats.get(news.peer)!, news.members)
        break
      case 'message':
        if (!news.message.mine) this.#typing.delete(news.message.peer)
        if (news.message.peer === this.#conversation.peer) this.#conversation.take(news.message)
        break
      case 'progress': {
        const share = news.total > 0 ? news.done / news.total : 0
        this.#conversation.progress(news.key, share)
        return this.#viewer.progress(news.key, share)
      }
      case 'link_used':
        return this.#devices.used(news.device, news.fault)
      case 'handed':
        return news.given ? this.#devices.handed(news.device, news.fault) : this.#join.handed(news.fault)
      case 'gone':
        if (news.peer === this.#conversation.peer) this.#conversation.drop(news.keys)
        break
      case 'typing':
        if (news.on) {
          const until = performance.now() + typingEndsMs
          this.#typing.set(news.peer, until)
          setTimeout(() => this.#draw(), typingEndsMs + 10)
        } else this.#typing.delete(news.peer)
        break
      case 'presence':
        if (news.online) this.#here.add(news.peer)
        else this.#here.delete(news.peer)
        this.#seen.set(news.peer, news.seen)
    }
    this.#draw()
  }

  #takeChat(chat: Chat): void {
    const before = this.#chats.get(chat.peer)
    this.#chats.set(chat.peer, chat)
    if (chat.peer !== this.#conversation.peer) return
    this.#conversation.update(chat)
    this.#about.show(chat)
    // All have it; some may have come further.
    if (chat.group && before?.delivered !== chat.delivered) void this.#worker.look(chat.peer)
  }

  /** Draws all but the messages, once a frame; or without one, as a page that is hidden meanwhile gets none. */
  #draw(): void {
    if (this.#drawing) return
    this.#drawing = true
    const draw = () => {
      if (!this.#drawing) return
      this.#drawing = false
      const { peer } = this.#conversation
      this.#list.show([...this.#chats.values()], peer, this.#here)
      the('presence').textContent = this.#presence(peer)
      const changed = this.#chats.get(peer)?.changed ?? false
      if (the('changed').hidden === changed) {
        the('changed').hidden = !changed
        the('changed').querySelector('span')!.textContent = `Either ${peer} has a new browser, or somebody stands in between. Nothing is sent until you decide.`
      }
      const unread = [...this.#chats.values()].reduce((n, chat) => n + chat.unread, 0)
      document.title = `${unread ? `(${unread}) ` : ''}${this.#user} – Rookery`
      this.#shown()
    }
    if (!document.hidden) requestAnimationFrame(draw)
    setTimeout(draw, document.hidden ? 0 : lateFrameMs)
  }

  /** Who is here, and for how long messages live. */
  #presence(peer: string): string {
    const life = this.#chats.get(peer)?.timer
    return [this.#hereText(peer), life ? `messages disappear after ${lifeText(life)}` : ''].filter((each) => each).join(' \u00b7 ')
  }

  #hereText(peer: string): string {
    if (this.#chats.get(peer)?.group) {
      const n = this.#members.get(peer)?.length ?? 0
      return n > 0 ? `${n} ${n === 1 ? 'member' : 'members'}` : ''
    }
    if ((this.#typing.get(peer) ?? 0) > performance.now()) return 'types …'
    if (this.#here.has(peer)) return 'here now'
    const seen = this.#seen.get(peer)
    return seen ? `last here ${timeText(seen)}` : ''
  }

  /** Tells that the user sees the open chat, when that is so. */
  #shown(): void {
    const chat = this.#chats.get(this.#conversation.peer)
    if (chat && chat.unread > 0 && document.visibilityState === 'visible' && document.hasFocus()) void this.#worker.shown(chat.peer)
  }

  #state(state: State, text: string): void {
    the('state').textContent = state === 'stopped' && text ? text : states[state]
    the('state').title = text
    the('state').classList.toggle('warning', state === 'stopped')
    if (state === 'elsewhere') the('elsewhere').hidden = false
    the('revoked').hidden = state !== 'revoked'
    if (state !== 'online') {
      this.#here.clear()
      this.#typing.clear()
      this.#draw()
    }
  }
}

const narrow = () => getComputedStyle(the('back')).display !== 'none'

/** Lets somebody in under a name. */
function enter(user: string): void {
  sessionStorage.setItem(whoKey, user)
  localStorage.setItem(namesKey, JSON.stringify([user, ...names().filter((each) => each !== user)].slice(0, 8)))
  the('door').hidden = true
  new App(user)
}

function names(): string[] {
  return JSON.parse(localStorage.getItem(namesKey) ?? '[]') as string[]
}

async function start(): Promise<void> {
  const user = sessionStorage.getItem(whoKey)
  if (user) return enter(user)
  the('door').hidden = false
  the('enter').onsubmit = (event) => {
    event.preventDefault()
    enter(the<HTMLInputElement>('name').value)
  }
  for (const name of names()) {
    const button = document.createElement('button')
    button.textContent = name
    button.onclick = () => enter(name)
    const item = document.createElement('li')
    item.append(button)
    the('names').querySelector('ul')!.append(item)
  }
  the('names').hidden = names().length === 0
  the('name').focus()
  const { pick, encryption } = (await (await fetch('/config')).json()) as { pick: boolean; encryption: boolean }
  if (pick && encryption) return
  the('closed').textContent = encryption
    ? 'Names are picked only on the server\u2019s own machine, at a loopback address, with its development key.'
    : 'This server was built without the page\u2019s encryption: build it with make.'
  the('closed').hidden = false
  for (const each of [the('enter'), the('names')]) each.hidden = true
}

void start()
