#!/usr/bin/env bash
# Real servers for the tests, on this machine, as processes of this user:
# Kafka, Cassandra, Redis, S3, HAProxy. Everything lies in .cache/services.
#
# usage: services.sh install              # fetch what they need, once
#        services.sh start [SERVER...]    # kafka, cassandra, redis and s3, when none is named
#        services.sh status [SERVER...]   # exit 0 when these run and answer
#        services.sh stop [SERVER...]     # all that run; their data stays for the next start
#        services.sh kill [SERVER...]     # the same by SIGKILL: a crash
#        services.sh pause|resume SERVER...
#        services.sh clean [SERVER...]    # kill all, and remove their data
#
# SERVER is kafka (one broker), kafka3 (three: kafka-1, kafka-2, kafka-3, which
# are servers too), cassandra, redis, s3, or haproxy. Ports are whatever is free;
# .cache/services/env says them, as KEY=VALUE lines.
#
# SERVICES_RUN names another folder to run them in, absolute, with its env in
# it: servers of a test's own, which go when the process SERVICES_OWNER does.
# SERVICES_LARGE=yes starts servers fit to be measured, with more memory.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
here=$root/scripts/services
cache=$root/.cache/services
tls=$cache/tls
run=${SERVICES_RUN:-$cache/run}
env_file=$cache/env
[ -z "${SERVICES_RUN:-}" ] || env_file=$run/env
user=rookery password=not-a-secret # of Kafka's and Redis's login; tests alone meet it
patience=180 # seconds that a server may take to answer

fail() { echo "services: $*" >&2; exit 1; }
for part in process install tls kafka cassandra redis s3 haproxy; do . "$here/$part.sh"; done

# names SERVER...: the servers one by one.
names() {
	local server
	for server in "$@"; do
		case $server in
		kafka3) echo kafka-1 kafka-2 kafka-3 ;;
		kafka | kafka-[123] | cassandra | redis | s3 | haproxy) echo "$server" ;;
		*) echo "services: no server $server; there are kafka, kafka3, cassandra, redis, s3, haproxy" >&2; return 2 ;;
		esac
	done
}

# recorded: those that were started here and not cleaned away.
recorded() {
	local file
	for file in "$run"/*/ports; do [ ! -f "$file" ] || basename "$(dirname "$file")"; done
}

# bring_up NAME: prepares, starts, and waits until it answers.
bring_up() {
	local name=$1 kind=${1%-[0-9]} before=$SECONDS
	"${kind}_prepare" "$name" || { complain "$name could not be prepared"; return 1; }
	spawn "$name"
	until "${kind}_answers" "$name"; do
		alive "$name" || { complain "$name ended"; return 1; }
		[ $((SECONDS - before)) -lt "$patience" ] || { complain "$name does not answer after $patience s"; signal "$name" KILL; gone "$name" 20; return 1; }
		sleep 0.1
	done
	echo "services: $name runs at 127.0.0.1:$(port "$name" 1), pid $(pid_of "$name"), after $((SECONDS - before)) s"
}

complain() { # complain "NAME WHAT": with the end of its log
	local log=$run/${1%% *}/log
	echo "services: $1; the end of $log:" >&2
	tail -n 30 "$log" | cut -c 1-400 >&2
}

start() {
	local name new=() jobs=() job failed=0 ports megabytes=100
	[ $# -gt 0 ] || set -- kafka cassandra redis s3
	for name in $(names "$@"); do
		if alive "$name"; then
			echo "services: $name runs already at 127.0.0.1:$(port "$name" 1), pid $(pid_of "$name")"
			continue
		fi
		need_installed "${name%-[0-9]}"
		mkdir -p "$run/$name"
		new+=("$name")
		case $name in kafka* | cassandra) megabytes=$((megabytes + 1000)) ;; esac
	done
	[ ${#new[@]} -gt 0 ] || return 0
	need_space "$run" $megabytes
	make_certificates
	for name in "${new[@]}"; do
		ports=${name%-[0-9]}_ports
		assign_ports "$name" "${!ports}"
	done
	watch_owner
	trap 'kill "${jobs[@]}" 2>/dev/null || true; write_env; exit 130' INT TERM # what has started stays, and is known
	for name in "${new[@]}"; do
		bring_up "$name" &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do wait "$job" || failed=1; done
	write_env
	[ $failed -eq 0 ] || fail "not all started"
}

# halt SIGNAL [NAME...]: all at once, then waits for each; who does not end is killed.
halt() {
	local signal=$1 name
	shift
	for name in "$@"; do
		! signal "$name" "$signal" || signal "$name" CONT || true # a stopped process would not hear
	done
	for name in "$@"; do
		gone "$name" 20 || signal "$name" KILL || true
		gone "$name" 20 || fail "$name, pid $(pid_of "$name"), does not end"
		rm -f "$run/$name/pid"
	done
	write_env
}

status() {
	local name kind down=0
	[ $# -gt 0 ] || set -- $(recorded | grep . || echo kafka cassandra redis s3)
	for name in $(names "$@"); do
		kind=${name%-[0-9]}
		if ! alive "$name"; then
			echo "$name: down"
			down=1
		elif "${kind}_answers" "$name"; then
			echo "$name: runs at 127.0.0.1:$(port "$name" 1), pid $(pid_of "$name"), $(awk '/VmRSS/ { print int($2/1024) }' "/proc/$(pid_of "$name")/status") MB"
		else
			echo "$name: runs, pid $(pid_of "$name"), and does not answer"
			down=1
		fi
	done
	return $down
}

# write_env says what runs, to tests and to people.
write_env() {
	local name any=
	for name in $(recorded); do ! alive "$name" || any=yes; done
	if [ -z "$any" ]; then
		rm -f "$env_file"
		return
	fi
	{ kafka_env; cassandra_env; redis_env; s3_env; haproxy_env; tls_env; } >"$env_file.part"
	mv "$env_file.part" "$env_file"
}

# watch_owner: a test that was killed cannot stop its servers.
watch_owner() {
	[ -n "${SERVICES_OWNER:-}" ] && [ ! -f "$run/watched" ] || return 0
	local since
	since=$(started "$SERVICES_OWNER") || return 0
	touch "$run/watched"
	(
		while [ "$(started "$SERVICES_OWNER")" = "$since" ] && [ -d "$run" ]; do sleep 1; done
		[ ! -d "$run" ] || "$root/scripts/services.sh" clean
	) >/dev/null 2>&1 </dev/null 8>&- 9>&- &
	disown $!
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
install | start | status | stop | kill | pause | resume | clean) ;;
*) sed -n '2,/^set /p' "$0" | sed '$d; s/^# \?//'; exit 2 ;;
esac
[[ $run = /* ]] || fail "SERVICES_RUN has to be absolute: $run"
[[ $root$run != *[[:space:]]* ]] || fail "the servers take no path with a space: $root, $run"
[ $# -eq 0 ] || names "$@" >/dev/null
mkdir -p "$cache" "$run"
if [ "$command" = install ]; then
	exec 8>"$cache/lock"
	flock 8
	install_all
	exit
fi
if [ "$command" = status ]; then
	status "$@"
	exit
fi
exec 9>"$run/lock" # one at a time in a folder
flock 9
case $command in
start) start "$@" ;;
stop | kill)
	which=$([ $# -gt 0 ] && names "$@" || recorded)
	halt "$([ "$command" = stop ] && echo TERM || echo KILL)" $which
	;;
pause) for name in $(names "$@"); do signal "$name" STOP || fail "$name does not run"; done ;;
resume) for name in $(names "$@"); do signal "$name" CONT || fail "$name does not run"; done ;;
clean)
	which=$([ $# -gt 0 ] && names "$@" || recorded)
	halt KILL $which
	for name in $which; do
		[ "$name" != cassandra ] || cassandra_remove "$name"
		rm -rf "${run:?}/$name"
	done
	[ -n "$(recorded)" ] || rm -rf "$run"
	;;
esac
