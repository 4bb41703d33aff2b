import type { Message } from '../talk.ts'

/** At most so many names stand in a line. */
const namesAtOnce = 8

function listOf(names: string[]): string {
  const rest = names.length - namesAtOnce
  if (rest > 0) return `${names.slice(0, namesAtOnce).join(', ')} and ${rest} more`
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`
}

/** What a change of a group was, for who reads it as me. */
export function changeText({ from, mine, change }: Message, me: string): string {
  const { verb, users, name, picture } = change!
  const who = mine ? 'You' : from
  const whom = listOf(users.map((each) => (each === me ? 'you' : each)))
  switch (verb) {
    case 'create':
      return `${who} made the group${name ? ` \u201c${name}\u201d` : ''}${users.length > 0 ? ` with ${whom}` : ''}`
    case 'add':
      return `${who} added ${whom}`
    case 'remove':
      return `${who} removed ${whom}`
    case 'leave':
      return `${who} left`
    case 'admin':
      return `${who} made ${whom} admin${users.length > 1 ? 's' : ''}`
    case 'member':
      return `${who} ended that ${whom} ${users.length > 1 || users[0] === me ? 'are' : 'is'} admin`
    case 'info':
      if (picture) return picture === 'set' ? `${who} changed the group\u2019s picture` : `${who} took the group\u2019s picture away`
      return name ? `${who} named the group \u201c${name}\u201d` : `${who} took the group\u2019s name away`
  }
}
