// Bundles the page and its Worker into static/, which is committed: a binary is built without Node. A test holds that what is
// committed is what this makes.
import { build } from 'esbuild'

/** Go's loader belongs to the compiled encryption, and is made with it (crypto.sh). */
const loader = {
  name: 'loader',
  setup: (b) => b.onResolve({ filter: /\/go-exec\.js$/ }, () => ({ path: '/crypto/go-exec.js', external: true })),
}

/** Builds both, to be written or returned. */
export function bundle(write) {
  return build({
    absWorkingDir: import.meta.dirname,
    entryPoints: { page: 'src/page/main.ts', worker: 'src/worker/main.ts' },
    outdir: 'static',
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    plugins: [loader],
    legalComments: 'none',
    logLevel: 'error',
    write,
  })
}

if (process.argv[1] === import.meta.filename) await bundle(true)
