# Sourced by scripts/cluster.sh: what is said, to people and to programs.

server_port() { (run=$run/services && port "$1" 1); }
server_pid() { (run=$run/services && pid_of "$1"); }

url() { echo "wss://127.0.0.1:$(server_port haproxy)"; }

# write_env says what is where to programs.
write_env() {
	local n
	{
		echo "URL=$(url)"
		echo "CA=$run/tls/ca.pem" # of the certificate at URL
		echo "DATA=$run/data"     # with the development key
		echo "CONFIG=$run/rookery.yaml"
		for n in 1 2 3; do
			echo "GATEWAY_$n=127.0.0.1:$(port gateway-$n 1)"
			echo "GATEWAY_${n}_ADMIN=127.0.0.1:$(port gateway-$n 2)"
		done
		for n in 1 2; do echo "PROCESSOR_${n}_ADMIN=127.0.0.1:$(port processor-$n 1)"; done
		echo "BROKERS=$(IFS=,; echo "${brokers[*]}")"
		sed -n 's/^KAFKA3\?=/KAFKA=/p' "$run/services/env"
		grep -E '^(CASSANDRA|CASSANDRA_USER|CASSANDRA_PASSWORD|REDIS)=' "$run/services/env"
		echo "HAPROXY=127.0.0.1:$(server_port haproxy)"
		echo "PLAIN=127.0.0.1:$( (run=$run/services && port haproxy 2))" # the same without TLS
		echo "HAPROXY_STATS=$run/services/haproxy/stats.sock"
	} >"$run/env.part"
	mv "$run/env.part" "$run/env"
}

# table says it to people; fails unless everything is ready.
table() {
	local name all=0
	[ -f "$run/env" ] || { echo "cluster: none is up in $run"; return 1; }
	printf '%-12s %-21s %-21s %-8s %-9s %s\n' name address admin pid state log
	for name in "${gateways[@]}"; do row "$name" "127.0.0.1:$(port "$name" 1)" "127.0.0.1:$(port "$name" 2)" || all=1; done
	for name in "${processors[@]}"; do row "$name" - "127.0.0.1:$(port "$name" 1)" || all=1; done
	for name in "${servers[@]}"; do
		(run=$run/services && row "$name" "127.0.0.1:$(port "$name" 1)" -) || all=1
	done
	return $all
}

row() { # row NAME ADDRESS ADMIN
	local state code=0 pid=-
	state=$(state "$1") || code=1
	[ "$state" = down ] || pid=$(pid_of "$1")
	printf '%-12s %-21s %-21s %-8s %-9s %s\n' "$1" "$2" "$3" "$pid" "$state" "${run#"$PWD/"}/$1/log"
	return $code
}

state() { # state NAME
	alive "$1" || { echo down; return 1; }
	grep -q '^State:[[:space:]]*T' "/proc/$(pid_of "$1")/status" && { echo paused; return 1; }
	case $1 in gateway-* | processor-*) ready "$1" || { echo unready; return 1; } && echo ready ;; *) echo runs ;; esac
}

hints() {
	local from=${run#"$PWD/"} rookery=${binary#"$PWD/"}
	cat <<-TEXT

		$(url)/ws/<user>

		To try it, in two other terminals here:
		  export SSL_CERT_FILE=$from/tls/ca.pem
		  $rookery tail --url $(url) --data $from/data --as bob
		  $rookery send --url $(url) --data $from/data --as alice --to bob "hi"

		To break it:
		  export CLUSTER_RUN=$run
		  scripts/cluster.sh kill gateway-1   # or another of the names above; start gateway-1 brings it back

		Ctrl-C stops all of this; the data stays in $from for the next time.
	TEXT
}

# ended NAME: who ends on request is not recorded any more.
ended() {
	local dir=$run/$1
	case " ${servers[*]} " in *" $1 "*) dir=$run/services/$1 ;; esac
	if [ -f "$dir/pid" ]; then
		echo "cluster: $1 has ended by itself; the end of $dir/log:"
		tail -n 5 "$dir/log" | cut -c 1-300
	else
		echo "cluster: $1 was ended"
	fi
}
