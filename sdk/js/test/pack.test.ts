import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { dir, fresh, Server, token } from './world.ts'

let server: Server

beforeAll(async () => {
  server = await Server.start()
})

afterAll(async () => {
  await server?.kill()
  rmSync(dir, { recursive: true })
})

async function bundleOf(contents: string): Promise<string> {
  const built = await build({ stdin: { contents, resolveDir: '.', loader: 'ts' }, bundle: true, minify: true, format: 'esm', write: false, logLevel: 'error' })
  return built.outputFiles[0]!.text
}

test('who uses no encryption is not given it', async () => {
  const plain = await bundleOf("import { PlainClient } from './src/index.ts'; console.log(PlainClient)")
  const sealed = await bundleOf("import { Client } from './src/index.ts'; console.log(Client)")
  expect(sealed).toContain('e2ee.wasm')
  for (const part of ['e2ee.wasm', 'WebAssembly', 'AES-GCM', 'indexedDB']) expect(plain, part).not.toContain(part)
})

// The packed files are what `npm run build` made.
test('installed from the packed file it sends a message', () => {
  const folder = join(dir, 'app')
  mkdirSync(folder)
  execFileSync('npm', ['pack', '--silent', '--pack-destination', folder])
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))!
  writeFileSync(join(folder, 'package.json'), '{"type":"module","private":true}')
  execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', '--prefer-offline', `./${tarball}`, 'ws@8.23.0'], { cwd: folder })
  const [alice, bob] = [fresh('alice'), fresh('bob')]
  const program = `
    import WebSocket from 'ws'
    import { Client } from '@rookery-chat/client'
    import { FileJournal } from '@rookery-chat/client/node'
    const open = (user, token) => Client.connect({ url: '${server.url}', user, device: 'app', token: () => token, WebSocket, journal: new FileJournal(user) })
    const a = await open('${alice}', '${token(alice)}')
    const b = await open('${bob}', '${token(bob)}')
    await b.published()
    await a.send('${bob}', 'hello')
    for await (const e of b) {
      if (e.type !== 'message') continue
      console.log(new TextDecoder().decode(e.message.content))
      b.handled()
      break
    }
    await Promise.all([a.close(), b.close()])
  `
  writeFileSync(join(folder, 'app.mjs'), program)
  expect(execFileSync('node', ['app.mjs'], { cwd: folder, encoding: 'utf8' }).trim()).toBe('hello')
})
