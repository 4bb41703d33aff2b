import type { Answer, Call, Calls, News } from '../talk.ts'

/** The Worker's side of the page: its calls, and its news for a listener. */
export function startWorker(listen: (news: News) => void): Calls {
  const worker = new Worker('/worker.js', { type: 'module', name: 'rookery' })
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  let last = 0
  worker.onerror = (event) => listen({ type: 'state', state: 'stopped', text: event.message || 'the encryption could not be loaded' })
  worker.onmessage = ({ data }: MessageEvent<Answer | News>) => {
    if (!Array.isArray(data)) return listen(data)
    const [n, result, error] = data
    const caller = waiting.get(n)
    waiting.delete(n)
    if (error) caller?.reject(new Error(error))
    else caller?.resolve(result)
  }
  return new Proxy({} as Calls, {
    get: (_, name) => (...args: unknown[]) =>
      new Promise((resolve, reject) => {
        waiting.set(++last, { resolve, reject })
        worker.postMessage([last, name as keyof Calls, args] satisfies Call)
      }),
  })
}
