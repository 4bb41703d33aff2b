// Prints what encryption costs in the TypeScript SDK, in Node and in Chromium, as JSON: npm run bench.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import { test } from 'vitest'

import { measure } from './measure.ts'

async function inChromium(): Promise<unknown> {
  const page = "import { measure } from './measure.ts'; globalThis.measure = measure"
  const bundled = await build({ stdin: { contents: page, resolveDir: 'bench', loader: 'ts' }, bundle: true, format: 'esm', target: 'es2022', write: false })
  const files: Record<string, [string, Uint8Array]> = {
    '/': ['text/html', new TextEncoder().encode('<!doctype html><script type="module" src="/page.js"></script>')],
    '/page.js': ['text/javascript', bundled.outputFiles[0]!.contents],
    '/e2ee.wasm': ['application/wasm', readFileSync('src/e2ee/e2ee.wasm')],
  }
  const pages = createServer((request, response) => {
    const file = files[request.url!]
    response.writeHead(file ? 200 : 404, { 'Content-Type': file?.[0] ?? 'text/plain' }).end(file?.[1])
  })
  await new Promise<void>((done) => pages.listen(0, '127.0.0.1', done))
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
  try {
    const tab = await browser.newPage()
    await tab.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`)
    await tab.waitForFunction(() => 'measure' in globalThis)
    return await tab.evaluate(() => (globalThis as unknown as { measure: typeof measure }).measure('/e2ee.wasm'))
  } finally {
    await browser.close()
    pages.close()
  }
}

test('cost', async () => {
  console.log(JSON.stringify({ bytes: 100, node: await measure(), chromium: await inChromium() }))
})
