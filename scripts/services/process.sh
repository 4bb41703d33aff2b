# Sourced by scripts/services.sh: processes, ports and files of a server, which
# are described in its folder, $run/NAME: pid ("PID START"), ports, log.

# started PID: when it started, in ticks since the boot; fails when it is gone
# or ended and not yet reaped. A pid alone may have become somebody else's.
started() {
	local stat fields
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	read -ra fields <<<"${stat##*) }"
	[ "${fields[0]}" != Z ] && echo "${fields[19]}"
}

# alive NAME: whether the process that was recorded still is that one.
alive() {
	local pid start
	read -r pid start 2>/dev/null <"$run/$1/pid" || return 1
	[ "$(started "$pid")" = "$start" ]
}

pid_of() { local pid start && read -r pid start <"$run/$1/pid" && echo "$pid"; }

# signal NAME SIGNAL: nothing but a process of ours is ever signalled.
signal() { alive "$1" && kill -s "$2" "$(pid_of "$1")" 2>/dev/null; }

# gone NAME SECONDS: waits until it has ended.
gone() {
	local i
	for ((i = 0; i < $2 * 20; i++)); do
		alive "$1" || return 0
		sleep 0.05
	done
	return 1
}

# spawn NAME: starts it in a session of its own, so that no Ctrl-C reaches it,
# and without the lock that this script holds.
spawn() {
	local name=$1 kind=${1%-[0-9]} dir=$run/$1
	[ ! -f "$dir/log" ] || mv "$dir/log" "$dir/log.before"
	touch "$dir/log"
	export -f $(compgen -A function)
	export run here cache
	# It is recorded by itself too, before it leaves for its session: whoever
	# ends this script meanwhile either ends it as well, or finds it recorded.
	(
		pid=$BASHPID
		cd "$dir" && ulimit -n "$(ulimit -Hn)" && record "$dir" "$pid" && exec setsid bash -c "${kind}_run $name"
	) >"$dir/log" 2>&1 </dev/null 8>&- 9>&- &
	record "$dir" $!
	disown $!
}

# record DIR PID: in one go, for somebody may be reading it.
record() {
	local part=$1/pid.$BASHPID
	echo "$2 $(started "$2")" >"$part" && mv "$part" "$1/pid"
}

# jvm KIND: options of a JVM that is to start with little processor time: its
# quick compiler alone, and classes from an archive. Not when it is measured.
jvm() {
	[ -n "${SERVICES_LARGE:-}" ] || echo -XX:TieredStopAtLevel=1
	if [ -n "${SERVICES_ARCHIVE:-}" ]; then
		echo "-XX:ArchiveClassesAtExit=$cache/$1/classes.part"
	elif [ -f "$cache/$1/classes" ]; then
		echo "-XX:SharedArchiveFile=$cache/$1/classes"
	fi
}

# port NAME N: its N-th port.
port() { cut -d ' ' -f "$2" "$run/$1/ports"; }

# assign_ports NAME COUNT: the ones it had, so that a server that was killed
# comes back where it was; free ones, when it is new or somebody took them.
assign_ports() {
	local dir=$run/$1 p free=() ports
	if [ -f "$dir/ports" ]; then
		read -ra ports <"$dir/ports"
		for p in "${ports[@]}"; do listening "$p" || free+=("$p"); done
		[ ${#free[@]} -ne "$2" ] || return 0
		free=()
	fi
	while [ ${#free[@]} -lt "$2" ]; do
		p=$(shuf -n 1 -i 20000-31999) # below what the kernel gives to clients
		listening "$p" || grep -qsw "$p" "$run"/*/ports || free+=("$p")
	done
	echo "${free[*]}" >"$dir/ports"
}

listening() { ss -Htln "sport = :$1" | grep -q .; }

# exchange PORT [BYTES COUNT]...: sends BYTES (as printf takes them), prints the
# first COUNT bytes of the answer in hex, and so on, in one connection.
exchange() {
	(
		exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
		shift
		while [ $# -gt 0 ]; do
			printf "$1" >&3
			timeout 5 head -c "$2" <&3 | od -An -v -tx1 | tr -d ' \n'
			shift 2
		done
	) 2>/dev/null
}

# render TEMPLATE FILE WORD=VALUE...: fills in the @WORDS@.
render() {
	local template=$1 file=$2 pair text
	shift 2
	text=$(cat "$here/$template")
	for pair in "$@" DIR="$(dirname "$file")" HERE="$here" TLS="$tls" USER="$user" PASSWORD="$password"; do
		text=${text//"@${pair%%=*}@"/"${pair#*=}"}
	done
	printf '%s\n' "$text" >"$file"
}

# need_space FOLDER MEGABYTES
need_space() {
	local free
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$2" ] || fail "$free MB are free where $1 is, and $2 are needed"
}
