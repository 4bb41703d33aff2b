import { type Body, bodyOfType, typeBody } from '../content.ts'
import type { HistoryPage, Message } from '../events.ts'
import { suiteGroup } from '../suites.ts'
import type { EncryptedEvent } from './client.ts'

/** A message and what it says. */
export interface Said {
  /** The message. */
  message: Message
  /** What it says; `newer` where this version cannot read it. */
  body: Body
}

/** The message that an event brings and what it says, for a {@link Timeline}; null: the event is none that does. */
export function saidOf(event: EncryptedEvent): Said | null {
  switch (event.type) {
    case 'message':
    case 'group_message':
    case 'copy':
      if (event.message.suite === suiteGroup) return null
      return { message: event.message, body: bodyOfType(typeBody, event.message.content!) }
    case 'typed':
      return { message: event.message, body: bodyOfType(event.kind, event.message.content!) }
  }
  return null
}

/** A page of history with what its messages say. */
export interface SaidPage extends HistoryPage {
  /** Of its messages, in their order; `newer`, with a message whose content is null, where it cannot be read. */
  bodies: Body[]
  /** Changes of a group's members, newest first, for {@link parseChange}; they are none of the messages. */
  changes: Message[]
}
