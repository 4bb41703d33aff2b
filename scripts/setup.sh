#!/usr/bin/env bash
# Makes this folder ready for the tests: Go modules, a Python environment in
# .cache/python, Node modules of test/foreign/js. Does nothing the second time.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache

need() { # need COMMAND WHAT-FOR
	command -v "$1" >/dev/null || { echo "setup: no $1, which $2" >&2; exit 2; }
}
need go "builds everything (1.26 or newer)"
need cc "the race detector links with"
need python3 "runs a foreign client and Autobahn's verdict (3.10 or newer, with venv)"
need node "runs a foreign client (20 or newer)"
need npm "installs its modules"

# once STAMP INPUT... -- COMMAND...: runs the command unless it went well for
# the same inputs before.
once() {
	local stamp=.cache/$1.ready inputs=()
	shift
	while [ "$1" != -- ]; do
		[ -e "$1" ] || { echo "setup: $1 is missing" >&2; exit 2; }
		inputs+=("$1")
		shift
	done
	shift
	local sum
	sum=$(cat "${inputs[@]}" | sha256sum)
	[ "$(cat "$stamp" 2>/dev/null || true)" = "$sum" ] && return
	echo "setup: $*"
	"$@"
	echo "$sum" >"$stamp"
}

python_environment() {
	rm -rf .cache/python
	python3 -m venv .cache/python
	.cache/python/bin/pip install --quiet --no-input -r test/foreign/python/requirements.txt
}

node_modules() { (cd test/foreign/js && npm ci --no-audit --no-fund --loglevel=error); }

once modules go.mod go.sum -- go mod download
once python test/foreign/python/requirements.txt -- python_environment
[ -d test/foreign/js/node_modules ] || rm -f .cache/node.ready
once node test/foreign/js/package.json test/foreign/js/package-lock.json -- node_modules
