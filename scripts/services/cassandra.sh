# Sourced by scripts/services.sh: one node. Ports: clients, with and without
# TLS; other nodes, of which there are none.

cassandra_ports=2

cassandra_prepare() { # cassandra_prepare NAME
	# What it acknowledged has to be there after kill -9: a periodic log marks how
	# far it reaches every 100 ms, and is read to the last mark only. A log that
	# outlives the process need not outlive the machine, so it lies in memory,
	# where syncs are cheap. One that is measured is not killed, and writes its
	# log as a node among three does.
	local dir=$run/$1 heap=1g log sync=batch
	log=$(cat "$dir/commitlog.where" 2>/dev/null) || log=$(mktemp -d "$(in_memory "$dir")/rookery-commitlog-XXXXXX")
	echo "$log" >"$dir/commitlog.where"
	[ -z "${SERVICES_LARGE:-}" ] || heap=2g sync=$'periodic\ncommitlog_sync_period: 10000ms'
	mkdir -p "$dir/tmp"
	render cassandra/cassandra.yaml "$dir/cassandra.yaml" LOG="$log" SYNC="$sync" PORT="$(port "$1" 1)" STORAGE_PORT="$(port "$1" 2)"
	render cassandra/jvm.options "$dir/jvm.options" HEAP=$heap LIBS="$cache/cassandra/libs" \
		JAMM="$(echo "$cache"/cassandra/libs/jamm-*.jar)"
}

# in_memory FOLDER: a folder in memory with room for a commit log, else this one.
in_memory() {
	[ "$(df -Pm /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')" -ge 1024 ] 2>/dev/null && echo /dev/shm || echo "$1"
}

cassandra_remove() { # cassandra_remove NAME: what lies elsewhere
	[ ! -f "$run/$1/commitlog.where" ] || rm -rf "$(cat "$run/$1/commitlog.where")"
}

cassandra_run() { # cassandra_run NAME
	exec java $(jvm cassandra) @"$run/$1/jvm.options"
}

# Answers STARTUP by asking for a login (AUTHENTICATE, 03), and takes the
# default one (AUTH_SUCCESS, 10), which a new node has some moments later.
cassandra_answers() { # cassandra_answers NAME
	local startup='\x04\x00\x00\x01\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0'
	local login='\x04\x00\x00\x02\x0f\x00\x00\x00\x18\x00\x00\x00\x14\x00cassandra\x00cassandra'
	grep -q 'Startup complete' "$run/$1/log" || return 1
	# An answer begins with a header of 9 bytes, whose fifth is the kind; the
	# first goes on with the authenticator's name, 49 bytes.
	local reply
	reply=$(exchange "$(port "$1" 1)" "$startup" 58 "$login" 9)
	[ "${reply:8:2}" = 03 ] && [ "${reply:124:2}" = 10 ]
}

cassandra_env() {
	alive cassandra || return 0
	echo "CASSANDRA=127.0.0.1:$(port cassandra 1)"
	echo "CASSANDRA_TLS=127.0.0.1:$(port cassandra 1)"
	echo "CASSANDRA_USER=cassandra"
	echo "CASSANDRA_PASSWORD=cassandra"
}
