#!/usr/bin/env bash
# Everything a change has to pass, on a machine that may be fresh. Steps go on
# after a failure, so that one run tells all; the last line counts them.
#
# usage: test.sh [STEP...]   # all of them, or some
set -uo pipefail
cd "$(dirname "$0")/.."

staticcheck=$(sed -n 's/^STATICCHECK *:= *//p' Makefile)
race_packages=${RACE_PACKAGES:-./...}

step_setup() { scripts/setup.sh; }
step_build() { make --no-print-directory build; }

# What ran before stays; the rest ends with this script.
step_services() {
	local server ours=()
	for server in kafka cassandra redis s3; do
		scripts/services.sh status "$server" >/dev/null || ours+=("$server")
	done
	[ ${#ours[@]} -gt 0 ] || return 0
	trap "scripts/services.sh clean ${ours[*]}" EXIT
	scripts/services.sh start "${ours[@]}"
}

step_lint() { scripts/lint.sh "$staticcheck"; }

# The race detector allocates, so claims of no allocation run without it.
step_race() { go test -race -p 2 -timeout 15m "$race_packages"; }
step_alloc() { go test -p 2 -timeout 5m -run 'Alloc' ./...; }

# The event loops of other systems, which are gnet's, run on this one too.
step_gnet() { go test -tags gnet -p 2 -timeout 10m ./engine/... ./internal/echo/...; }

# Buffers lent to handlers are poisoned when these return.
step_invariants() { go test -tags invariants -p 2 -timeout 10m ./engine/... ./internal/echo/... ./internal/gateway/... ./internal/server/...; }
step_failpoints() { go test -tags failpoints -p 2 -timeout 10m ./internal/failpoint/... ./pipeline/... ./shard/...; }

# Programs with a go.mod of their own: the checker, which shares no code with the server.
step_modules() {
	local m
	for m in $(git ls-files '*/go.mod' | xargs -r -n1 dirname | grep -v '^bench/'); do
		(cd "$m" && go vet ./... && go test -race -timeout 10m ./...) || return 1
	done
}

# Processor time and allocations of each stage against the figures that landed, by ratio.
step_guard() { bin/rookery bench guard bench/guard.json; }

step_autobahn() { scripts/autobahn.sh quick; }
step_foreign() { scripts/foreign.sh; }
step_js() { scripts/js.sh; }
step_crash() { # the loops' descriptors the process's, then their own
	scripts/crash.sh 7 && ROOKERY_ENGINE_OWN_DESCRIPTORS=true ROOKERY_ENGINE_LOOPS=4 scripts/crash.sh 3
}
step_cluster() { scripts/cluster/smoke.sh; }

# Two minutes of `make chaos`, at what two processors carry with all servers and the load on them.
step_chaos() { scripts/chaos.sh --duration 2m --rate 100 --sockets 400 --calm 2s; }

steps=(setup build lint services race alloc gnet invariants failpoints modules guard autobahn foreign js crash cluster chaos)
[ $# -gt 0 ] && steps=("$@")

# Of a step that failed the lines that tell why, few and short: of a long run often only the end is kept.
why() {
	local telling='^ *(--- FAIL|FAIL|not ok)|^panic:|WARNING: DATA RACE|fatal error:' plain
	plain=$(sed 's/\x1b\[[0-9;]*m//g' "$logs/$1.log" | cut -c 1-180)
	{ grep -E -A 8 "$telling" <<<"$plain" || tail -n 12 <<<"$plain"; } | grep -vE '^(--|[[:space:]]*)$' | head -n 16
}

logs=.cache/test
mkdir -p "$logs"
passed=0 failed=() started=$SECONDS
for step in "${steps[@]}"; do
	declare -F "step_$step" >/dev/null || { echo "test: no step $step" >&2; exit 2; }
	echo "=== $step"
	begin=$SECONDS
	exec 7> >(tee "$logs/$step.log")
	"step_$step" >&7 2>&1 7>&-
	ended=$?
	exec 7>&-
	wait $! # for the last lines
	if [ $ended -eq 0 ]; then
		passed=$((passed + 1))
		echo "--- $step: passed in $((SECONDS - begin)) s"
	else
		failed+=("$step")
		echo "--- $step: FAILED after $((SECONDS - begin)) s"
		case $step in setup | build) break ;; esac
	fi
done

echo "=== $((SECONDS - started)) s"
for step in "${failed[@]}"; do
	echo "failed: $step"
	why "$step"
done
echo "tests: $passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
