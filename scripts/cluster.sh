#!/usr/bin/env bash
# A whole Rookery on this machine, as processes of this user: three Kafka
# brokers, Cassandra, Redis, HAProxy with TLS, three gateways, two processors.
#
# usage: cluster.sh run                # up, in the foreground; Ctrl-C is down
#        cluster.sh up                 # starts what does not run, waits until all are ready
#        cluster.sh down               # gateways drain, then processors, then servers; data stays
#        cluster.sh status             # what is where; exit 0 when all are ready
#        cluster.sh kill NAME...       # a crash, by SIGKILL
#        cluster.sh stop NAME...       # by SIGTERM: a gateway drains
#        cluster.sh pause|resume NAME...
#        cluster.sh start NAME...      # what was killed or stopped, at its addresses, with its data
#        cluster.sh clean              # kill all, and remove their data
#
# NAME is gateway-1 to gateway-3, processor-1, processor-2, kafka-1 to kafka-3
# (kafka, where it is one), cassandra, redis, haproxy. Ports are whatever is free.
#
# CLUSTER_RUN      the folder it runs in, absolute; .cache/cluster, and for run the
#                  next free one. Its file env says what is where, as KEY=VALUE lines.
# CLUSTER_BROKERS  3, or 1 for a lighter one; fixed when the folder is made
# CLUSTER_PARTITIONS  16, of the log; fixed likewise
# CLUSTER_BINARY   bin/rookery
# SERVICES_LARGE=yes starts servers fit to be measured, with more memory.
# Variables ROOKERY_… reach gateways and processors, and prevail over rookery.yaml.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
here=$root/scripts/services
cache=$root/.cache/services
run=${CLUSTER_RUN:-$root/.cache/cluster}
binary=$(realpath -m "${CLUSTER_BINARY:-$root/bin/rookery}")
gateways=(gateway-1 gateway-2 gateway-3)
processors=(processor-1 processor-2)
patience=120 # seconds that gateways and processors may take to be ready

fail() { echo "cluster: $*" >&2; exit 1; }
. "$here/process.sh"
for part in wire roles show; do . "$root/scripts/cluster/$part.sh"; done

# services WORD...: scripts/services.sh for the servers of this cluster.
services() { SERVICES_RUN=$run/services "$root/scripts/services.sh" "$@"; }

# read_brokers: their names, of this folder's cluster.
read_brokers() {
	local number
	number=$(cat "$run/brokers" 2>/dev/null) || number=${CLUSTER_BROKERS:-3}
	case $number in
	1) brokers=(kafka) ;;
	3) brokers=(kafka-1 kafka-2 kafka-3) ;;
	*) fail "CLUSTER_BROKERS is 1 or 3, not $number" ;;
	esac
	servers=("${brokers[@]}" cassandra redis haproxy)
}

# fits: whether the folder has as many brokers as are asked for.
fits() { [ "${CLUSTER_BROKERS:-${#brokers[@]}}" = ${#brokers[@]} ]; }

# busy: whether anything of the folder runs.
busy() {
	local name
	for name in "${gateways[@]}" "${processors[@]}"; do alive "$name" && return; done
	for name in "${servers[@]}"; do server_alive "$name" && return; done
	return 1
}

server_alive() { (run=$run/services && alive "$1"); }

up() {
	[ -x "$binary" ] || fail "no $binary: make build"
	fits || fail "$run has data of ${#brokers[@]} brokers, not of $CLUSTER_BROKERS: clean removes it, CLUSTER_RUN names another folder"
	busy || need_resources
	prepare
	services start "${brokers[@]}" cassandra redis
	write_config
	make_tables
	launch "${processors[@]}" "${gateways[@]}"
	start_haproxy
	write_env
	table
}

down() {
	halt TERM "${gateways[@]}"
	halt TERM "${processors[@]}"
	[ ! -d "$run/services" ] || services stop
	rm -f "$run/env"
}

clean() {
	halt KILL "${gateways[@]}" "${processors[@]}"
	[ ! -d "$run/services" ] || services clean
	rm -rf "${run:?}"
}

# each VERB NAME...: does it to each.
each() {
	local verb=$1 name ours=() others=()
	shift
	[ $# -gt 0 ] || fail "which? there are ${gateways[*]} ${processors[*]} ${servers[*]}"
	for name in "$@"; do
		case " ${gateways[*]} ${processors[*]} " in *" $name "*) ours+=("$name") && continue ;; esac
		case " ${servers[*]} " in *" $name "*) others+=("$name") && continue ;; esac
		fail "no $name here; there are ${gateways[*]} ${processors[*]} ${servers[*]}"
	done
	if [ "$verb" = start ] && [[ " ${others[*]} " = *" haproxy "* ]]; then export_haproxy; fi
	[ ${#others[@]} -eq 0 ] || services "$verb" "${others[@]}"
	[ ${#ours[@]} -eq 0 ] || case $verb in
	start) launch "${ours[@]}" ;;
	stop) halt TERM "${ours[@]}" ;;
	kill) halt KILL "${ours[@]}" ;;
	pause) for name in "${ours[@]}"; do signal "$name" STOP || fail "$name does not run"; done ;;
	resume) for name in "${ours[@]}"; do signal "$name" CONT || fail "$name does not run"; done ;;
	esac
}

# choose_folder: the first that no other run has, and keeps it as long as this
# one lives.
choose_folder() {
	local n=1
	while :; do
		[ -n "${CLUSTER_RUN:-}" ] || run=$root/.cache/cluster$([ $n -eq 1 ] || echo -$n)
		mkdir -p "$run"
		read_brokers
		exec 7>"$run/foreground"
		if ! flock -n 7 || busy; then
			echo "cluster: one runs already in $run; CLUSTER_RUN=$run scripts/cluster.sh down ends it"
			[ -z "${CLUSTER_RUN:-}" ] || exit 1
		elif [ -n "${CLUSTER_RUN:-}" ] || fits; then
			export CLUSTER_RUN=$run
			return
		fi
		n=$((n + 1))
	done
}

# foreground is up, waiting, and down. What starts them is a group of its own,
# which an interrupt ends as a whole; then all that was recorded is stopped.
foreground() {
	local job name code=0
	local -A told
	choose_folder
	need_resources
	"$root/scripts/services.sh" install 7>&-
	trap 'interrupted' INT TERM HUP
	setsid "$0" up 7>&- &
	job=$!
	wait $job || { code=$?; "$0" down 7>&-; exit $code; }
	hints
	while busy; do
		for name in "${gateways[@]}" "${processors[@]}" "${servers[@]}"; do
			if alive "$name" || server_alive "$name"; then
				told[$name]=
			elif [ -z "${told[$name]:-}" ]; then
				told[$name]=yes
				ended "$name"
			fi
		done
		sleep 1 &
		wait $! || true
	done
	echo "cluster: all of it has ended"
}

interrupted() {
	trap '' INT TERM HUP
	echo
	echo "cluster: stopping; the data stays in $run"
	kill -- "-$job" 2>/dev/null || true
	wait "$job" || true
	"$0" down 7>&-
	echo "cluster: stopped"
	exit 0
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
run | up | down | status | kill | stop | pause | resume | start | clean) ;;
*) sed -n '2,/^set /p' "$0" | sed '$d; s/^# \?//'; exit 2 ;;
esac
[[ $run = /* ]] || fail "CLUSTER_RUN has to be absolute: $run"
[[ $root$run != *[[:space:]]* ]] || fail "the servers take no path with a space: $root, $run"
umask 077
if [ "$command" = run ]; then
	foreground
	exit
fi
read_brokers
if [ "$command" != up ] && [ ! -d "$run" ]; then
	fail "there is no cluster in $run"
fi
mkdir -p "$run"
case $command in
up | down | clean)
	exec 9>"$run/lock" # one at a time in a folder
	flock 9
	"$command"
	;;
status) table ;;
*) each "$command" "$@" ;;
esac
