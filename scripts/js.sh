#!/usr/bin/env bash
# The TypeScript SDK: its encryption (Go, as WebAssembly), types, build, documentation, tests in Node and Chromium. Needs go,
# node and npm; fetches its own packages, and Chromium by apt where it is missing.
#
# ROOKERY_BIN names the server (default bin/rookery, built when missing).
set -euo pipefail
cd "$(dirname "$0")/.."
export ROOKERY_BIN=${ROOKERY_BIN:-$PWD/bin/rookery}
[ -x "$ROOKERY_BIN" ] || make --no-print-directory build
scripts/chromium.sh
cd sdk/js
command -v npm >/dev/null || { echo "js: npm is missing: install Node.js 20 or newer" >&2; exit 1; }
# Not `npm ci`: it refuses a lock file that names the native parts of this platform alone.
npm install --no-save --no-audit --no-fund --loglevel=error
npm run --silent wasm
npm run --silent check
npm run --silent build
npm run --silent docs
npm run --silent test
