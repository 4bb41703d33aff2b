#!/usr/bin/env bash
# The TypeScript SDK: its encryption (Go, as WebAssembly), types, build, documentation, tests in Node and Chromium; then the chat
# page on it: types, whether its bundle is the committed one, tests in Chromium, of the page of `rookery bench report` too, which leave
# screenshots in web/shots. Needs go, node and npm; fetches its own packages, and Chromium by apt where it is missing.
#
# usage: js.sh [sdk|page|rounds]   # sdk and page; rounds: what `rookery bench crypto` runs in Node, into .cache/bench-crypto
#
# ROOKERY_BIN names the server (default bin/rookery, built when missing); the page's tests need one that `make build` made.
set -euo pipefail
cd "$(dirname "$0")/.."

# Not `npm ci`: it refuses a lock file that names the native parts of this platform alone.
packages() { npm install --no-save --no-audit --no-fund --prefer-offline --loglevel=error; }

rounds() {
	local to=$PWD/.cache/bench-crypto
	mkdir -p "$to"
	cd sdk/js
	packages
	npm run --silent wasm
	node_modules/.bin/esbuild bench/round.ts --bundle --platform=node --format=esm --outfile="$to/round.js" --log-level=warning
	cp src/e2ee/e2ee.wasm "$to/"
}
if [ "${1:-}" = rounds ]; then
	rounds
	exit
fi

export ROOKERY_BIN=${ROOKERY_BIN:-$PWD/bin/rookery}
[ -x "$ROOKERY_BIN" ] || make --no-print-directory build
scripts/chromium.sh
command -v npm >/dev/null || { echo "js: npm is missing: install Node.js 20 or newer" >&2; exit 1; }

sdk() {
	cd sdk/js
	npm run --silent check
	npm run --silent build
	npm run --silent docs
	npm run --silent test
}

page() {
	cd web
	packages
	npm run --silent check
	npm run --silent test
}

(cd sdk/js && packages && npm run --silent wasm) # the page bundles it, and its tests have Node speak
[ "${1:-sdk}" = sdk ] && (sdk)
[ "${1:-page}" = page ] && (page)
