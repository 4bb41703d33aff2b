/** The element of an id, which index.html has. */
export function the<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E
}

/** Makes an element with a class and children. */
export function make<K extends keyof HTMLElementTagNameMap>(name: K, kind = '', ...children: (Node | string)[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(name)
  if (kind) element.className = kind
  element.append(...children)
  return element
}

/** A button of an item of a list: what it does, its text, and what a screen reader says. */
export function actButton(act: string, text: string, label: string, run: () => void): HTMLButtonElement {
  const button = make('button', '', text)
  button.type = 'button'
  button.setAttribute('aria-label', label)
  button.dataset['act'] = act
  button.onclick = run
  return button
}

/** A symbol of index.html. */
export function symbol(id: string): SVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use')
  use.setAttribute('href', `#${id}`)
  svg.setAttribute('aria-hidden', 'true')
  svg.append(use)
  return svg
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' })

/** A time of today, or else with its date. */
export function timeText(at: number): string {
  const then = new Date(at)
  const today = then.toDateString() === new Date().toDateString()
  return today ? clock.format(then) : `${date.format(then)}, ${clock.format(then)}`
}

/** The same as an element. */
export function time(at: number): HTMLTimeElement {
  const element = make('time', '', timeText(at))
  element.dateTime = new Date(at).toISOString()
  element.title = whole.format(at)
  return element
}
