#!/usr/bin/env bash
# Upgrades a cluster under probes, one process after the other, from the program
# of an earlier commit to this tree's, as docs/operations.md says: the schema,
# processors, gateways; then takes one of each back. Fails where a message was lost
# or late.
#
# usage: upgrade.sh COMMIT
#
# Half of the probes are of the earlier program.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=$(git rev-parse --verify "${1:?usage: upgrade.sh COMMIT}^{commit}")
pairs=8 every=250ms late=15s settle=5
work=$PWD/.cache/upgrade
earlier=$work/$commit
export CLUSTER_RUN=$work/cluster CLUSTER_BROKERS=1 CLUSTER_PARTITIONS=4

if [ ! -x "$earlier/bin/rookery" ]; then
	rm -rf "$earlier"
	git clone -q . "$earlier"
	git -C "$earlier" checkout -q "$commit"
	(cd "$earlier" && go build -o bin/rookery ./cmd/rookery)
fi
go build -o bin/rookery ./cmd/rookery
scripts/services.sh install
mkdir -p "$earlier/.cache"
ln -sfn "$PWD/.cache/services" "$earlier/.cache/services"
cluster() { "$earlier/scripts/cluster.sh" "$@"; } # whose settings it runs with

[ ! -d "$CLUSTER_RUN" ] || cluster clean
CLUSTER_BINARY=$earlier/bin/rookery cluster up
probes=()
# Probes may have ended before.
trap 'kill "${probes[@]}" 2>/dev/null || true; cluster clean' EXIT
. "$CLUSTER_RUN/env"
export SSL_CERT_FILE=$CA

probe() { # probe PROGRAM NUMBER
	exec "$1/bin/rookery" probe --url "$URL" --data "$DATA" --as "sender$2" --to "receiver$2" --every $every --timeout $late --json >"$work/probe-$2"
}
for n in $(seq $pairs); do
	program=$PWD
	[ $((n % 2)) = 0 ] || program=$earlier
	probe "$program" "$n" &
	probes+=($!)
done
sleep $settle

replace() { # replace PROGRAM NAME...
	local name
	for name in "${@:2}"; do
		cluster stop "$name"
		CLUSTER_BINARY=$1/bin/rookery cluster start "$name"
		sleep $settle
	done
}
bin/rookery admin schema --config "$CONFIG"
replace "$PWD" processor-1 processor-2 gateway-1 gateway-2 gateway-3
echo "upgrade: all are new; one of each goes back"
replace "$earlier" processor-1 gateway-1

kill "${probes[@]}"
code=0
for n in $(seq $pairs); do
	wait "${probes[n - 1]}" || code=1
	echo "upgrade: probe $n: $(tail -n 1 "$work/probe-$n")"
	tail -n 1 "$work/probe-$n" | grep -q '"late":0,"lost":0' || code=1
done
[ $code = 0 ] || echo "upgrade: messages were lost or late" >&2
exit $code
