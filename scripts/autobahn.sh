#!/bin/sh
# Runs the Autobahn test suite against rookery echo, permessage-deflate on, and
# fails unless every case is OK or INFORMATIONAL.
#
# usage: autobahn.sh [all|quick]
#   all    the 517 cases, 15 to 30 minutes (the default)
#   quick  the 301 of groups 1 to 10, about half a minute
#
# ROOKERY names the binary (default bin/rookery). The report stays in
# .cache/autobahn-all or .cache/autobahn-quick, with a page per case.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/.cache
suite=${1:-all}

case $suite in
all) cases='"*"' expected=517 seconds=5400 ;;
quick) cases='"1.*","2.*","3.*","4.*","5.*","6.*","7.*","9.*","10.*"' expected=301 seconds=900 ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

wstest=$(test/autobahn/setup.sh "$cache/autobahn")
rookery=${ROOKERY:-bin/rookery}
[ -x "$rookery" ] || { echo "autobahn: no $rookery: run make build" >&2; exit 2; }

report=$cache/autobahn-$suite.$$ # until the run has ended: there may be others
mkdir -p "$report"
"$rookery" echo --listen 127.0.0.1:0 >"$report/server.log" 2>&1 &
server=$!
keep() {
	kill $server 2>/dev/null || true
	rm -rf "$cache/autobahn-$suite"
	mv "$report" "$cache/autobahn-$suite"
}
trap keep EXIT
trap 'exit 1' INT TERM

url=
for _ in $(seq 120); do
	url=$(grep -o 'ws://[0-9.]*:[0-9]*' "$report/server.log" | head -1)
	[ -z "$url" ] && kill -0 $server 2>/dev/null || break
	sleep 0.25
done
[ -n "$url" ] || { echo "autobahn: the server did not start:" >&2; cat "$report/server.log" >&2; exit 1; }

cat >"$report/spec.json" <<JSON
{"outdir": "$report", "servers": [{"agent": "rookery", "url": "$url"}],
 "cases": [$cases], "exclude-cases": [], "exclude-agent-cases": {}}
JSON
timeout -k 30 $seconds "$wstest" -m fuzzingclient -s "$report/spec.json" >"$report/wstest.log" 2>&1 ||
	{ echo "autobahn: wstest ended with $?; the end of its log:" >&2; tail -5 "$report/wstest.log" >&2; exit 1; }
kill -0 $server 2>/dev/null || { echo "autobahn: the server died" >&2; tail -20 "$report/server.log" >&2; exit 1; }
python3 test/autobahn/verdict.py "$report/index.json" $expected
