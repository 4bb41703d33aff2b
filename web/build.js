// Bundles the page, its QR codes and its Worker into static/, which is committed: a binary is built without Node. A test holds that what is
// committed is what this makes.
import { build } from 'esbuild'

/** Fetched when they are wanted: Go's loader, which is made with the compiled encryption (crypto.sh), and the bundle of QR codes. */
const later = {
  name: 'later',
  setup: (b) => {
    b.onResolve({ filter: /\/go-exec\.js$/ }, () => ({ path: '/crypto/go-exec.js', external: true }))
    b.onResolve({ filter: /^\/code\.js$/ }, ({ path }) => ({ path, external: true }))
  },
}

/** Builds all, to be written or returned. */
export function bundle(write) {
  return build({
    absWorkingDir: import.meta.dirname,
    entryPoints: { page: 'src/page/main.ts', code: 'src/page/code.ts', worker: 'src/worker/main.ts' },
    outdir: 'static',
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    plugins: [later],
    legalComments: 'none',
    logLevel: 'error',
    write,
  })
}

if (process.argv[1] === import.meta.filename) await bundle(true)
