#!/usr/bin/env bash
# A cluster of its own, of one broker: a message goes through HAProxy from a user
# of one gateway to a user of another, and comes again from the store.
set -euo pipefail
cd "$(dirname "$0")/../.."

export CLUSTER_RUN=$PWD/.cache/cluster-smoke CLUSTER_BROKERS=1
tail=
mkdir -p .cache
exec 6>"$CLUSTER_RUN.lock"
flock 6
trap 'kill $tail 2>/dev/null || true; scripts/cluster.sh clean' EXIT
[ ! -d "$CLUSTER_RUN" ] || scripts/cluster.sh clean # of one that could not clean up
scripts/cluster.sh up 6>&-
. "$CLUSTER_RUN/env"
export SSL_CERT_FILE=$CA

fail() {
	echo "smoke: $1" >&2
	scripts/cluster.sh status >&2 || true
	exit 1
}
rookery() { bin/rookery "$1" --url "$URL" --data "$DATA" "${@:2}"; }
# counts METRIC: its value at each gateway.
counts() {
	local admin
	for admin in "$GATEWAY_1_ADMIN" "$GATEWAY_2_ADMIN" "$GATEWAY_3_ADMIN"; do
		(
			exec 3<>"/dev/tcp/${admin/://}"
			printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
			sed -n "s/^$1 //p" <&3
		)
	done | xargs
}

timeout 60 bin/rookery tail --url "$URL" --data "$DATA" --as bob >"$CLUSTER_RUN/tail" 2>&1 &
tail=$!
until grep -q '^caught up' "$CLUSTER_RUN/tail"; do
	kill -0 $tail 2>/dev/null || fail "tail ended: $(cat "$CLUSTER_RUN/tail")"
	sleep 0.1
done
receiver=$(counts rookery_sessions)
rookery send --as alice --to bob "through everything"
sender=$(counts rookery_sends_accepted_total | sed 's/[1-9][0-9]*/1/g') # the message, and the key before it
# Where a user goes is fixed by the names of user and gateway.
[[ "$receiver $sender" =~ ^[01]\ [01]\ [01]\ [01]\ [01]\ [01]$ ]] && [ "$receiver" != "$sender" ] ||
	fail "bob is at ($receiver), alice sent at ($sender): not at one gateway each, and another"
until grep -q 'alice: through everything$' "$CLUSTER_RUN/tail"; do
	kill -0 $tail 2>/dev/null || fail "bob got nothing: $(cat "$CLUSTER_RUN/tail")"
	sleep 0.1
done
# By a spare device of bob's, with the keys of the one that tail has.
rookery history --as bob --with alice | grep 'alice: through everything' || fail "the store has no such message"
kill -INT $tail
wait $tail || true
scripts/cluster.sh down
! scripts/cluster.sh status || fail "something is left"
