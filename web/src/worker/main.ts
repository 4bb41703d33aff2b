import type { Answer, Call, Calls, News } from '../talk.ts'
import { Person } from './person.ts'

const person: Calls = new Person((news: News) => postMessage(news))

self.onmessage = async ({ data }: MessageEvent<Call>) => {
  const [n, name, args] = data
  let answer: Answer
  try {
    answer = [n, await (person[name] as (...args: unknown[]) => Promise<unknown>).apply(person, args), '']
  } catch (err) {
    answer = [n, null, err instanceof Error ? err.message : String(err)]
  }
  postMessage(answer)
}
