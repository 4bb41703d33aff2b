// When uploads and downloads are tried again that were refused, for a time or for their token: over HTTP as a test answers it, by a clock that it turns.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { Media, type Sent } from '../src/index.ts'
import { retryAfterMs } from '../src/pace.ts'

/** An answer instead of the one that should come: a status, Retry-After, a body. */
type Refusal = [number, string, string?]

const start = Date.UTC(2000, 0, 1)

beforeEach(() => void vi.useFakeTimers({ now: start, toFake: ['Date', 'setTimeout', 'clearTimeout'] }))

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const bytes = new Uint8Array([1, 2])

/** A web listener and its store with an upload of two parts of a byte, and one request of a method that is refused, counted from 1. */
function answers(method: string, n: number, [status, after, text = '']: Refusal): (asked: string, url: string) => Response {
  const have = new Set<string>()
  let ended = false
  let asked = 0
  return (how, url) => {
    if (how === method && ++asked === n) return new Response(text, { status, headers: after ? { 'Retry-After': after } : {} })
    const path = new URL(url).pathname
    if (path === '/blob') return new Response(bytes)
    if (how === 'PUT') return have.add(path), new Response()
    if (path.endsWith('/end')) return (ended = true), Response.json({})
    const missing = [1, 2].map((part) => ({ part, size: 1, url: `http://store/${part}` })).filter(({ part }) => !have.has(`/${part}`))
    return Response.json({ name: 'x', size: 2, type: 'x/y', part_bytes: 1, complete: ended, missing, url: 'http://store/blob' })
  }
}

const media = () => new Media('http://rookery', () => 't')
const acts = {
  upload: () => media().upload(bytes),
  download: () => media().download('x'),
  drop: () => media().dropAfter({ durable: async () => {} } as unknown as Sent, 'x'),
}

/** How long something takes, by the clock of the test. */
async function waits(act: () => Promise<unknown>): Promise<number> {
  const done = act().then(() => Date.now() - start)
  await vi.runAllTimersAsync()
  return done
}

const rateLimited = (ms: number) => JSON.stringify({ number: 2, text: 'too many', retry_ms: ms })

test.each<[string, keyof typeof acts, string, number, Refusal, number]>([
  ['its body', 'upload', 'POST', 1, [429, '8', rateLimited(7300)], 7300],
  ['a proxy', 'upload', 'POST', 1, [503, '9', '<html>'], 9000],
  ['the store', 'upload', 'PUT', 2, [503, '11', 'SlowDown'], 11_000],
  ['the end', 'upload', 'POST', 2, [503, '12'], 12_000],
  ['the link', 'download', 'GET', 1, [429, '13'], 13_000],
  ['the store, by a date', 'download', 'GET', 2, [503, 'Sat, 01 Jan 2000 00:00:14 GMT'], 14_000],
  ['its body', 'drop', 'DELETE', 1, [429, '', rateLimited(15_000)], 15_000],
  ['the most', 'drop', 'DELETE', 1, [503, '120'], 120_000],
  ['a day', 'drop', 'DELETE', 1, [503, '86400'], 120_000],
  ['a day', 'upload', 'PUT', 1, [503, '86400'], 120_000],
  ['a day', 'download', 'GET', 2, [503, '86400'], 120_000],
])('%s says when: %s', async (_, act, method, n, refusal, waited) => {
  const answer = answers(method, n, refusal)
  vi.stubGlobal('fetch', async (url: string, { method = 'GET' }: RequestInit) => answer(method, url))
  expect(await waits(acts[act])).toBe(waited)
})

test('nobody says when, or a time that was: it is tried soon', async () => {
  for (const after of ['', 'Fri, 31 Dec 1999 00:00:14 GMT', 'tomorrow']) {
    vi.setSystemTime(start)
    const answer = answers('GET', 1, [503, after])
    vi.stubGlobal('fetch', async (url: string, { method = 'GET' }: RequestInit) => answer(method, url))
    const waited = await waits(acts.download)
    expect(waited).toBeGreaterThan(0)
    expect(waited).toBeLessThanOrEqual(1000)
  }
})

test('in a page, where parts are put by XMLHttpRequest', async () => {
  const answer = answers('PUT', 2, [503, '11', 'SlowDown'])
  vi.stubGlobal('fetch', async (url: string, { method = 'GET' }: RequestInit) => answer(method, url))
  vi.stubGlobal('XMLHttpRequest', class {
    upload = {}
    status = 0
    onload = () => {}
    #url = ''
    #headers = ''
    open(_: string, url: string) { this.#url = url }
    setRequestHeader() {}
    getAllResponseHeaders() { return this.#headers }
    send() {
      const { status, headers } = answer('PUT', this.#url)
      this.status = status
      this.#headers = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join('')
      queueMicrotask(() => this.onload())
    }
  })
  expect(await waits(acts.upload)).toBe(11_000)
})

test('a token that is refused is replaced, once', async () => {
  const good = answers('', 0, [0, ''])
  for (const [tokens, asked, error] of [
    [['old', 'new'], ['old', 'new', 'new'], ''],
    [['old'], ['old'], 'unauthorized'], // there is no other
    [['old', 'older'], ['old', 'older'], 'unauthorized'],
  ] as const) {
    const shown: string[] = []
    vi.stubGlobal('fetch', async (url: string, { method = 'GET', headers = {} }: RequestInit) => {
      const token = (headers as Record<string, string>)['Authorization']?.slice('Bearer '.length)
      if (token) shown.push(token)
      return !token || token === 'new' ? good(method, url) : Response.json({ number: 200, text: 'get a new one' }, { status: 401 })
    })
    let at = 0
    const media = new Media('http://rookery', (refused) => tokens[refused ? Math.min(++at, tokens.length - 1) : at]!)
    const both = async () => (await media.download('x'), media.drop('x'))
    if (error) await expect(both()).rejects.toMatchObject({ codeName: error })
    else await both()
    expect(shown).toEqual(asked)
  }
})

test('a header is seconds or a date, as it is to the Go SDK', () => {
  const says: [string | null, number][] = [
    [null, 0], ['', 0], ['0', 0], ['120', 120_000], [' 7 ', 7000], ['2147483648', 0], ['-1', 0], ['1.5', 0], ['1e3', 0], ['soon', 0], ['Sat', 0], ['Saturday', 0],
    ['Sat, 01 Jan 2000 00:00:10 GMT', 10_000], ['Saturday, 01-Jan-00 00:00:10 GMT', 10_000], ['Sat Jan  1 00:00:10 2000', 10_000], ['Fri, 31 Dec 1999 23:59:50 GMT', 0],
  ]
  for (const [header, ms] of says) expect([header, retryAfterMs(header, start)]).toEqual([header, ms])
})
