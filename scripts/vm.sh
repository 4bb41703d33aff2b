#!/usr/bin/env bash
# Runs a command, such as a bench of a million sessions in one process, in a
# virtual machine of its own: a machine's kernel may allow a process fewer
# descriptors than that, and this one's allows two million. It is User Mode
# Linux, a kernel that is an ordinary process and needs no virtualisation by the
# processor. Code runs at full speed there, on one processor; system calls and
# page faults cost some 15 us each. So bytes mean what they mean anywhere, and
# times and rates do not.
#
# usage: vm.sh [--memory SIZE] COMMAND [ARGUMENT…]
#
# SIZE is what the machine has at most (default 20G); it takes of it what it
# uses, from /dev/shm. Inside, the files are this machine's, read-only; the
# command's working folder is this one, and /run is empty memory, where TMPDIR
# is: a bench's server keeps its data there, so that no disk is measured. Exit
# code and output are the command's; its standard output comes when it has ended.
#
# Needs the package user-mode-linux and installs it through apt-get, as root.
# As root it also raises vm.max_map_count while it runs, since each run of pages
# of a process inside is a mapping outside; so there is one such machine at a
# time. Whoever stops and continues its processes (SIGSTOP) ends the machine.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "vm: $*" >&2; exit 2; }
memory=20G
if [ "${1:-}" = --memory ]; then
	[ $# -ge 2 ] || fail "--memory needs a size, such as 20G"
	memory=$2
	shift 2
fi
[ $# -ge 1 ] || fail "usage: vm.sh [--memory SIZE] COMMAND [ARGUMENT…]"
if ! command -v linux.uml >/dev/null; then
	[ "$(id -u)" = 0 ] || fail "no linux.uml: as root, apt-get install user-mode-linux"
	apt-get install -y --no-install-recommends user-mode-linux >&2
fi

exec 9>/dev/shm/rookery-vm.lock
flock -n 9 || fail "another such machine is running"
# The kernel and what runs in it take turns: on one processor they need not wake
# another one at every system call.
processor=$(taskset -cp $$ | grep -o '[0-9]*$')
shm=$(mktemp -d -p /dev/shm rookery-vm-XXXXXX) # the machine's memory
work=$(mktemp -d)                              # what goes in and comes out
maps=$(cat /proc/sys/vm/max_map_count)
machine=
# shellcheck disable=SC2317 # the trap calls it
clean() {
	trap '' INT TERM
	[ -z "$machine" ] || kill -KILL -- "-$machine" 2>/dev/null || true # what runs inside are processes of its group
	wait
	[ "$(cat /proc/sys/vm/max_map_count)" = "$maps" ] || echo "$maps" >/proc/sys/vm/max_map_count
	rm -rf "$shm" "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM
most=16000000
if [ "$maps" -lt $most ] && ! echo $most 2>/dev/null >/proc/sys/vm/max_map_count; then
	echo "vm: vm.max_map_count is $maps and cannot be raised: a process inside may have no more than about as many pages" >&2
fi

# What is process 1 inside.
cat >"$work/init" <<END
#!/bin/bash
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o size=100% run /run
mount -t hostfs -o $work work /mnt
ip link set lo up
sysctl -q -w fs.nr_open=2097152 fs.file-max=8000000 fs.epoll.max_user_watches=16000000 vm.max_map_count=1000000 \\
	net.core.somaxconn=65535 net.ipv4.tcp_max_syn_backlog=65535 net.ipv4.ip_local_port_range='10000 65000' \\
	net.ipv4.tcp_mem='2000000 3000000 4000000' net.ipv4.tcp_max_tw_buckets=100000
ulimit -n 2097152
export HOME=/run TMPDIR=/run PATH=$(printf %q "$PATH")
cd $(printf %q "$PWD")
$(printf '%q ' "$@") >/mnt/out </dev/null
echo \$? >/mnt/code
halt -f -d
END
chmod +x "$work/init"

TMPDIR=$shm setsid taskset -c "$processor" linux.uml mem="$memory" uml_dir="$work" root=/dev/root rootfstype=hostfs rootflags=/ ro init="$work/init" quiet loglevel=1 con=null con0=null,fd:2 \
	</dev/null >"$work/kernel" &
machine=$!
wait "$machine" || true
machine=
[ ! -e "$work/out" ] || cat "$work/out"
[ -e "$work/code" ] || { tail -30 "$work/kernel" >&2; fail "the machine ended before the command did"; }
exit "$(cat "$work/code")"
