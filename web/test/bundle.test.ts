import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

import { bundle } from '../build.js'

test('what is committed is what the source makes', async () => {
  for (const { path, text } of (await bundle(false)).outputFiles!) {
    expect(text === readFileSync(path, 'utf8'), `${path} is of another source: npm run build in web`).toBe(true)
  }
})
