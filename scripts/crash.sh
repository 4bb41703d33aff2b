#!/usr/bin/env bash
# Kills the real server at random moments under load and judges what its clients
# saw: scripts/crash.sh [ROUNDS, 10] [SEED]. ROOKERY_BIN names the server's
# binary (bin/rookery, built when it is missing).
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-10}
bin=${ROOKERY_BIN:-bin/rookery}
[ -x "$bin" ] || go build -o "$bin" ./cmd/rookery
bin=$(realpath "$bin")
unset ROOKERY_BIN # no key of the server's: it would refuse it
mkdir -p .cache
(cd checker && go build -o ../.cache/checker .)
exec .cache/checker --server "$bin" --rounds "$rounds" ${2:+--seed "$2"}
