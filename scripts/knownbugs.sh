#!/usr/bin/env bash
# Switches on one known fault of the server after the other, and sees that the
# checker finds it: scripts/knownbugs.sh [FAULT...]. Then lets the store's rows
# become visible in any order, where it has to find nothing. Some minutes each,
# most of them to start the cluster. Needs root, as scripts/chaos.sh does.
set -euo pipefail
cd "$(dirname "$0")/.."

# What each takes to show itself, and as which kinds of fault it may be found.
declare -A scene=(
	[ack-before-durable]=followers [commit-before-store]=owners [resume-off-by-one]=none [no-deduplication]=buffered [leavers-stay]=none)
declare -A kinds=(
	[ack-before-durable]=lost,unique,resumable,bookmarks,monotonic [commit-before-store]=lost,bookmarks
	[resume-off-by-one]=lost,bookmarks [no-deduplication]=unique [leavers-stay]=unexpected)

order=yes
[ $# -gt 0 ] && order= || set -- ack-before-durable commit-before-store resume-off-by-one no-deduplication leavers-stay
go build -tags knownbugs -o .cache/rookery-knownbugs ./cmd/rookery
missed=()
for fault in "$@"; do
	[ -n "${scene[$fault]:-}" ] || { echo "knownbugs: no fault $fault" >&2; exit 2; }
	echo "=== $fault"
	KNOWN_BUG=$fault ROOKERY_BIN=.cache/rookery-knownbugs scripts/chaos.sh --duration 60s --rate 300 --sockets 300 --calm 4s \
		--faults '' --scenes "${scene[$fault]}" --expect "${kinds[$fault]}" --patience 30s || missed+=("$fault")
done

# No fault: rows that become visible in any order, while owners die and sleep.
[ -z "$order" ] || {
	echo "=== slow-rows"
	KNOWN_BUG=slow-rows ROOKERY_BIN=.cache/rookery-knownbugs scripts/chaos.sh --duration 60s --rate 100 --sockets 300 --calm 4s \
		--faults '' --scenes owners,zombie,hints || { echo "knownbugs: with slow-rows something was found" >&2; exit 1; }
}
[ ${#missed[@]} -eq 0 ] || { echo "knownbugs: not found: ${missed[*]}" >&2; exit 1; }
echo "knownbugs: all $# were found"
