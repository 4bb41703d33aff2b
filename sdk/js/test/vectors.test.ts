import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

import { ChatError } from '../src/errors.ts'
import { encodeChange, groupOf, parseChange } from '../src/group.ts'
import { bytesOfHex, bytesOfId, Clock, compareIds, hexOf, idOfBytes, isMessageId, makeId, msOfId, nodeOfId, ticksOfId } from '../src/id.ts'
import { isGroup } from '../src/options.ts'
import { decodePackets, encodePacket } from '../src/packets.ts'
import type { Packet } from '../src/schema.ts'

const read = (name: string) => JSON.parse(readFileSync(new URL(`../../../docs/vectors/${name}.json`, import.meta.url), 'utf8'))

/** A value of a file of vectors as one of ours; rows stay arrays. */
function fromJSON(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromJSON)
  if (value === null || typeof value !== 'object') return value
  if ('bin' in value) return bytesOfHex(value.bin as string)
  if ('int' in value) return BigInt(value.int as string)
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, fromJSON(each)]))
}

/** A value of ours as what stands in a file. */
function like(value: unknown, file: unknown): unknown {
  if (value instanceof Uint8Array) return hexOf(value)
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number') return String(value)
  if (typeof value === 'string' && file instanceof Uint8Array) return hexOf(bytesOfId(value))
  if (Array.isArray(value)) return value.map((each, i) => like(each, (file as unknown[])[i]))
  if (value === null || typeof value !== 'object') return value
  if (Array.isArray(file)) return Object.values(value).map((each, i) => like(each, file[i]))
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, like(each, (file as Record<string, unknown>)[key])]))
}

const encode = ({ type, ...fields }: Packet) => hexOf(encodePacket(type, fields as never))

describe('packets.json', () => {
  for (const v of read('packets'))
    test(v.name, () => {
      const [packet, ...others] = decodePackets(bytesOfHex(v.hex))
      expect(others).toEqual([])
      expect(packet!.type).toBe(v.packet)
      for (const [name, value] of Object.entries(v.fields)) {
        const file = fromJSON(value)
        expect(like((packet as unknown as Record<string, unknown>)[name], file), name).toEqual(like(file, file))
      }
      expect(encode(packet!)).toBe(v.hex)
    })
})

describe('tolerated.json', () => {
  for (const v of read('tolerated')) test(v.name, () => expect(decodePackets(bytesOfHex(v.hex)).map(encode)).toEqual([v.as]))
})

describe('refused.json', () => {
  for (const v of read('refused').filter((each: { strict?: boolean }) => !each.strict))
    test(v.name, () => expect(() => decodePackets(bytesOfHex(v.hex))).toThrow(ChatError))
})

describe('ids.json', () => {
  const ids = read('ids')
  test('parts', () => {
    for (const [i, v] of ids.ids.entries()) {
      expect(makeId(BigInt(v.ticks), v.seq, v.node)).toBe(v.text)
      expect(idOfBytes(bytesOfHex(v.hex))).toBe(v.text)
      expect([hexOf(bytesOfId(v.text)), ticksOfId(v.text), nodeOfId(v.text)]).toEqual([v.hex, BigInt(v.ticks), v.node])
      if (v.ms >= 0) expect(msOfId(v.text)).toBe(v.ms)
      expect(isMessageId(v.text)).toBe(true)
      for (const [j, other] of ids.ids.entries()) expect(Math.sign(compareIds(v.text, other.text))).toBe(Math.sign(i - j))
    }
  })
  test('clock', () => {
    const clock = new Clock('830102030405', 4660, 0n)
    for (const v of ids.clock) {
      if (v.see) clock.see(v.see)
      expect(clock.next(v.now)).toBe(v.id)
    }
  })
  test('bad', () => {
    for (const bad of ids.bad) expect(isMessageId(bad), bad).toBe(false)
    expect(() => bytesOfId('no id')).toThrow(ChatError)
  })
})

describe('groups.json', () => {
  const groups = read('groups')
  test('changes', () => {
    for (const { verb, users, info, hex } of groups.changes) {
      const change = { verb, users, info: bytesOfHex(info) }
      expect(parseChange(bytesOfHex(hex)), hex).toEqual(change)
      expect(hexOf(encodeChange(change))).toBe(hex)
    }
    for (const bad of groups.bad_changes) expect(() => parseChange(bytesOfHex(bad)), bad).toThrow('bad_change')
    for (const [verb, users] of [['leave', ['bob']], ['add', []], ['info', ['bob']], ['none', []]] as const) {
      expect(() => encodeChange({ verb, users: [...users], info: new Uint8Array() } as never), verb).toThrow('bad_change')
    }
    expect(() => encodeChange({ verb: 'add', users: [':'], info: new Uint8Array() })).toThrow('bad_name')
  })
  test('names', () => {
    for (const { id, group } of groups.groups) {
      expect(groupOf(id)).toBe(group)
      expect(isGroup(group)).toBe(true)
    }
    for (const bad of groups.bad_groups) expect(isGroup(bad), bad).toBe(false)
  })
})

test('unknown types are passed over, their neighbours are not', () => {
  expect(decodePackets(new Uint8Array())).toEqual([])
  expect(decodePackets(bytesOfHex('927fc092260a')).map((p) => p.type)).toEqual(['caught_up'])
})

test('bin 32 and str 16 both ways', () => {
  const content = new Uint8Array(70_000).fill(7)
  const text = 'ü'.repeat(20_000)
  const [packet] = decodePackets(encodePacket('send', { content, media: text }))
  expect(packet).toMatchObject({ type: 'send', media: text })
  expect(Buffer.compare((packet as { content: Uint8Array }).content, content)).toBe(0)
})
