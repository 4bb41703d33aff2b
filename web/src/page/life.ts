import type { Message } from '../talk.ts'

const units: [number, string][] = [[86_400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']]

/** A number of seconds in words. */
export function lifeText(seconds: number): string {
  const [size, name] = units.find(([size]) => seconds % size === 0) ?? [1, 'second']
  const n = seconds / size
  return `${n} ${name}${n === 1 ? '' : 's'}`
}

/** What a timer says. */
export function timerText({ mine, from, timer }: Message): string {
  const who = mine ? 'You' : from
  return timer ? `${who} set messages to disappear after ${lifeText(timer)}` : `${who} set messages to stay`
}
