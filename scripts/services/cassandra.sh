# Sourced by scripts/services.sh: one node. Ports: clients, with and without
# TLS; other nodes, of which there are none.

cassandra_ports=2

cassandra_prepare() { # cassandra_prepare NAME
	local dir=$run/$1 heap=1g
	[ -z "${SERVICES_LARGE:-}" ] || heap=2g
	mkdir -p "$dir/tmp"
	render cassandra/cassandra.yaml "$dir/cassandra.yaml" PORT="$(port "$1" 1)" STORAGE_PORT="$(port "$1" 2)"
	render cassandra/jvm.options "$dir/jvm.options" HEAP=$heap LIBS="$cache/cassandra/libs" \
		JAMM="$(echo "$cache"/cassandra/libs/jamm-*.jar)"
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
