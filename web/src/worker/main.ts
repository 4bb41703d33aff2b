import type { Answer, Call, Calls, News } from '../talk.ts'
import { Person } from './person.ts'

const person = new Person((news: News) => postMessage(news))

/** Who answers a call. */
const calls = (name: keyof Calls): Partial<Calls> => (name in person.ownDevices ? person.ownDevices : person)

self.onmessage = async ({ data }: MessageEvent<Call>) => {
  const [n, name, args] = data
  let answer: Answer
  try {
    answer = [n, await (calls(name)[name] as (...args: unknown[]) => Promise<unknown>).apply(calls(name), args), '']
  } catch (err) {
    answer = [n, null, err instanceof Error ? err.message : String(err)]
  }
  postMessage(answer)
}
