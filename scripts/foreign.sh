#!/usr/bin/env bash
# Runs the clients of test/foreign, which were written from docs/protocol.md
# alone, against a server: in Python and in JavaScript at once, for they also
# talk to each other. Sets both up in .cache and node_modules, once.
#
# usage: foreign.sh
#
# ROOKERY_BIN names the server (default bin/rookery, built when missing). The
# clients' output stays in .cache/foreign-log.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
venv=$root/.cache/foreign-py
log=$root/.cache/foreign-log
rookery=${ROOKERY_BIN:-bin/rookery}
mkdir -p "$log"

fail() { echo "foreign: $*" >&2; exit 2; }
need() { command -v "$1" >/dev/null || fail "no $1, which $2"; }
need python3 "runs a client (3.10 or newer, with venv)"
need node "runs a client (20 or newer)"
need npm "installs its modules"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || fail "node is $(node -v): 20 or newer is needed"

# same STAMP FILE...: whether STAMP was made from the same files.
same() { local stamp=$1; shift; [ "$(cat "$stamp" 2>/dev/null || true)" = "$(cat "$@" | sha256sum)" ]; }

requirements=test/foreign/python/requirements.txt
if ! same "$venv/ready" "$requirements"; then
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --no-input --disable-pip-version-check -r "$requirements"
	cat "$requirements" | sha256sum >"$venv/ready"
fi
packages=(test/foreign/js/package.json test/foreign/js/package-lock.json)
if ! same test/foreign/js/node_modules/.ready "${packages[@]}"; then
	(cd test/foreign/js && npm ci --no-audit --no-fund --loglevel=error)
	cat "${packages[@]}" | sha256sum >test/foreign/js/node_modules/.ready
fi
if [ ! -x "$rookery" ]; then
	[ -z "${ROOKERY_BIN:-}" ] || fail "no $ROOKERY_BIN"
	need go "builds the server"
	go build -o "$rookery" ./cmd/rookery
fi

work=$(mktemp -d)
pids=()
# shellcheck disable=SC2317 # the trap calls it
clean() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

# A low rate, so that a test is over it on any machine.
env -u ROOKERY_BIN "$rookery" serve --listen=127.0.0.1:0 --admin=127.0.0.1:0 --web=127.0.0.1:0 --data="$work/data" \
	--session-rate-messages=200 --session-rate-burst=500 >"$work/out" 2>"$log/server.log" &
server=$!
pids+=("$server")
for ((i = 0; i < 600; i++)); do
	grep -qx ready "$work/out" && break
	kill -0 "$server" 2>/dev/null || { tail -20 "$log/server.log" >&2; fail "the server did not start"; }
	sleep 0.1
done
grep -qx ready "$work/out" || fail "the server was not ready within a minute"
url=$(sed -n 's|^sockets *\(ws://[^/]*\)/.*|\1|p' "$work/out")
[ -n "$url" ] || fail "the server did not tell its socket"

node test/foreign/js/tokens.js "$work/data/dev-key.json" {py,js}-{01..60} {py,js}-exchange >"$work/tokens.json"
export ROOKERY_URL=$url ROOKERY_TOKENS=$work/tokens.json

(cd test/foreign/python && exec "$venv/bin/python" -B -m unittest -v) >"$log/python.log" 2>&1 &
python=$!
(cd test/foreign/js && exec node --test --test-reporter=spec client.test.js) >"$log/js.log" 2>&1 &
js=$!
pids+=("$python" "$js")

passed=0 failed=0
for client in python js; do
	if wait "${!client}"; then
		passed=$((passed + 1)) verdict=passed
	else
		failed=$((failed + 1)) verdict=FAILED
	fi
	echo "== the client in test/foreign/$client"
	cat "$log/$client.log"
	echo "-- $verdict"
done
kill -0 "$server" 2>/dev/null || { failed=$((failed + 1)); echo "-- the server FAILED: see $log/server.log"; }
echo "foreign: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
