// The programs of examples/, against a server and each other.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { data, dir, fresh, rookery, Server, token } from './world.ts'

const examples = resolve('../../examples')
const typescript = join(examples, 'typescript')
const running: ChildProcess[] = []
let server: Server

beforeAll(async () => {
  server = await Server.start()
})

afterAll(async () => {
  for (const child of running) child.kill()
  await server?.kill()
  rmSync(dir, { recursive: true })
})

/** Starts a program and returns the lines it prints. */
function start(user: string, command: string, ...args: string[]): AsyncIterator<string> {
  const child = spawn(command, args, { cwd: dir, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, TOKEN: token(user) } })
  running.push(child)
  return createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
}

const line = async (lines: AsyncIterator<string>) => (await lines.next()).value

/** Has a user of the command line know that somebody's keys are there. */
function whenThereAreKeys(of: string): void {
  for (;;) {
    try {
      execFileSync(rookery, ['send', `--url=${server.url}`, `--data=${data}`, `--as=${fresh('knocks')}`, `--to=${of}`, '--wait=durable', 'knock'], { stdio: 'pipe', env: { ...process.env, ROOKERY_BIN: undefined } })
      return
    } catch (err) {
      if (!/no keys/.test(String((err as { stderr: Buffer }).stderr))) throw err
    }
  }
}

test('Go answers Node and a page, end-to-end encrypted', async () => {
  const [ann, bob, carol] = [fresh('ann'), fresh('bob'), fresh('carol')]
  const program = join(dir, 'example-go')
  execFileSync('go', ['build', '-o', program, './examples/go'], { cwd: '../..', stdio: 'inherit' })
  execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: typescript, stdio: 'inherit' })
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: typescript, stdio: 'inherit' })

  const answers = start(ann, program, server.url, ann)
  whenThereAreKeys(ann)
  expect(await line(answers)).toMatch(/^knocks.*: knock$/)
  expect(await line(start(bob, 'node', join(typescript, 'node.js'), server.url, bob, ann))).toBe(`${ann}: you said hello from Node`)
  expect(await line(answers)).toBe(`${bob}: hello from Node`)

  const types: Record<string, string> = { 'index.html': 'text/html', 'browser.js': 'text/javascript', 'e2ee.wasm': 'application/wasm' }
  const pages = createServer((request, response) => {
    const name = request.url!.slice(1) || 'index.html'
    if (!types[name]) return response.writeHead(404).end()
    response.writeHead(200, { 'Content-Type': types[name] }).end(readFileSync(join(typescript, 'www', name)))
  })
  await new Promise<void>((done) => pages.listen(0, '127.0.0.1', done))
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
  const page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/#${[server.url, carol, ann, token(carol)].join(',')}`)
  await page.getByText(`${ann}: you said hello from a page`).waitFor()
  expect(await line(answers)).toBe(`${carol}: hello from a page`)
  await browser.close()
  pages.close()
}, 600_000) // npm fetches what is not in its cache

test('Python receives plaintext', async () => {
  const [dan, eve] = [fresh('dan'), fresh('eve')]
  const got = start(dan, 'python3', join(examples, 'python', 'receive.py'), server.web)
  for (const text of ['hi', 'there']) {
    execFileSync(rookery, ['send', `--url=${server.url}`, `--data=${data}`, `--as=${eve}`, `--to=${dan}`, '--plain', '--wait=durable', text], { stdio: 'pipe', env: { ...process.env, ROOKERY_BIN: undefined } })
    expect(await line(got)).toBe(`${eve}: ${text}`)
  }
})
