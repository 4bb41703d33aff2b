#!/usr/bin/env bash
# Runs the cluster under load, makes one part after the other fail, and judges
# what its clients saw: scripts/chaos.sh [FLAG...], flags of `checker chaos`.
# In a network namespace of its own, where packets may be dropped: needs root.
#
# The report is .cache/chaos/TIME/report.html, and .json, where --out says nothing else.
# ROOKERY_BIN names the server's binary (bin/rookery, built when it is missing).
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${ROOKERY_BIN:-bin/rookery}
[ -x "$bin" ] || go build -o "$bin" ./cmd/rookery
bin=$(realpath "$bin")
unset ROOKERY_BIN # no key of the server's: it would refuse it
mkdir -p .cache
(cd checker && go build -o ../.cache/checker .)
[ "$(id -u)" = 0 ] || { echo "chaos: a network namespace needs root" >&2; exit 2; }
export PATH=$PATH:/usr/sbin:/sbin
exec unshare --net -- sh -c 'ip link set lo up && exec .cache/checker chaos --server "$0" "$@"' \
	"$bin" --out ".cache/chaos/$(date -u +%Y%m%d-%H%M%S)" "$@"
