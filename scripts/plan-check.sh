#!/usr/bin/env bash
# Measures the lines that `rookery plan` starts from (internal/plan/builtin.jsonl)
# and those that docs/plan.md holds its predictions against
# (internal/plan/testdata/measured.jsonl): a quarter of an hour on two processors
# that have nothing else to do. Then the documents are written anew:
#
#   go test ./internal/plan -run Documented -update
#   go test ./internal/cli -run PlanDocument -update
#
# usage: plan-check.sh
#
# SHORT=yes only sees that it works, in some minutes, and leaves its lines in
# .cache/plan-check. CLUSTER names the folder of a cluster that is up, whose line
# of the profile real is measured too; without, the old one stays.
set -euo pipefail
cd "$(dirname "$0")/.."

few=1000 some=10000 back=15000 many=100000 seconds=20 idle=15000
[ -z "${SHORT:-}" ] || few=100 some=500 back=500 many=2000 seconds=3 idle=500
out=.cache/plan-check
tables=(--server-flag=--engine-own-descriptors=true --server-flag=--engine-loops=56) # as in bench --million
rm -rf "$out"
mkdir -p "$out"
go build -o bin/rookery ./cmd/rookery

# bench FILE ARGUMENT…: a line without what is long. An invalid one is not used.
bench() {
	local file=$1
	shift
	echo "== $*" >&2
	("${on[@]}" bin/rookery bench "$@" || echo "plan-check: invalid: $*" >&2) |
		sed -E 's/,"(histograms|modules)":\{[^}]*\}//g; s/,"time_lines":\[(\{[^}]*\},?)*\]//' >>"$out/$file"
}
# trickle SESSIONS RATE ARGUMENT…: from when nine sessions of ten have had a message.
trickle() {
	bench measured.jsonl trickle --connections "$1" --rate "$2" --warmup $((3 + $1 * 23 / 10 / $2))s --duration ${seconds}s "${@:3}"
}

on=(taskset -c 0)
for rate in 250 500 1000 2000; do trickle $few $rate; done
on=(taskset -c 0,1)
for rate in 250 500 1000 2000 5000 10000; do trickle $few $rate; done
for rate in 2500 5000 10000; do trickle $few $rate "${tables[@]}"; done
for sessions in $some $many; do trickle $sessions 5000 "${tables[@]}"; done
for sessions in $few $back $many; do bench measured.jsonl reconnect --connections $sessions "${tables[@]}"; done

bench builtin.jsonl idle --connections $idle
bench builtin.jsonl connect ${SHORT:+--connections $idle}
if [ -n "${CLUSTER:-}" ]; then
	bench builtin.jsonl real --cluster "$CLUSTER" --connections 500 --rate 2000 --warmup 60s
else
	grep '"profile":"real"' internal/plan/builtin.jsonl >>"$out/builtin.jsonl"
fi
[ -n "${SHORT:-}" ] || cp "$out/measured.jsonl" internal/plan/testdata/
[ -n "${SHORT:-}" ] || cp "$out/builtin.jsonl" internal/plan/
