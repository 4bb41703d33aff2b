#!/usr/bin/env bash
# Runs every fuzz target for a time each, one after another. A failing input
# stays in the package's testdata/fuzz, and is a test from then on.
#
# usage: fuzz.sh TIME [PATTERN]   # such as: fuzz.sh 10m, or fuzz.sh 1m FuzzReader
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: fuzz.sh TIME [PATTERN]}
pattern=${2:-.}

passed=0 failed=0
while IFS=: read -r file line; do
	target=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/' <<<"$line")
	[[ $target =~ $pattern ]] || continue
	echo "== $(dirname "$file") $target, $time"
	if go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done < <(git grep -E '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go')
[ $((passed + failed)) -gt 0 ] || { echo "fuzz: no target matches $pattern" >&2; exit 2; }
echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
