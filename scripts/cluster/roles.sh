# Sourced by scripts/cluster.sh: gateways and processors as processes. Ports of a
# gateway: sockets, admin, links of other processes, web; of a processor: admin.

gateway_run() { # gateway_run NAME
	exec "$binary" serve --config "$run/rookery.yaml" --role gateway --id "$1" --rpc-cert "$run/links/$1.pem" --rpc-key "$run/links/$1.key" \
		--listen "127.0.0.1:$(port "$1" 1)" --admin "127.0.0.1:$(port "$1" 2)" --rpc-listen "127.0.0.1:$(port "$1" 3)" \
		--web "127.0.0.1:$(port "$1" 4)"
}

processor_run() { # processor_run NAME
	exec "$binary" serve --config "$run/rookery.yaml" --role processor --id "$1" --rpc-cert "$run/links/$1.pem" --rpc-key "$run/links/$1.key" \
		--admin "127.0.0.1:$(port "$1" 1)"
}

admin_port() { # admin_port NAME
	case $1 in gateway-*) port "$1" 2 ;; *) port "$1" 1 ;; esac
}

# launch NAME...: starts those that do not run, and waits until they are ready.
launch() {
	local name count dir before=$SECONDS
	export root run binary
	for name in "$@"; do
		! alive "$name" || continue
		dir=$run/$name
		mkdir -p "$dir"
		case $name in gateway-*) count=4 ;; *) count=1 ;; esac
		assign_ports "$name" $count
		if [ -f "$dir/log" ]; then
			cat "$dir/log" >>"$dir/log.earlier" # of all lives, for who looks for what happened
			rm "$dir/log"
		fi
		spawn "$name"
	done
	for name in "$@"; do
		until ready "$name"; do
			alive "$name" || { complain "$name ended"; return 1; }
			[ $((SECONDS - before)) -lt $patience ] || { complain "$name is not ready after $patience s: $(readiness "$name" | tr '\n' ' ')"; return 1; }
			sleep 0.1
		done
		echo "cluster: $name is ready, pid $(pid_of "$name"), after $((SECONDS - before)) s"
	done
}

# readiness NAME: the answer of /readyz, nothing when there is none.
readiness() {
	timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "GET /readyz HTTP/1.0\r\n\r\n" >&3 && cat <&3' "$(admin_port "$1")" 2>/dev/null | tr -d '\r'
}

ready() { [[ $(readiness "$1") = HTTP/1.?' 200 '* ]]; }

complain() { # complain "NAME WHAT": with the end of its log
	echo "cluster: $1; the end of $run/${1%% *}/log:" >&2
	tail -n 20 "$run/${1%% *}/log" | cut -c 1-400 >&2
}

# halt SIGNAL NAME...: all at once, then waits for each; who does not end is killed.
halt() {
	local signal=$1 name
	shift
	for name in "$@"; do
		! signal "$name" "$signal" || signal "$name" CONT || true # a paused process would not hear
	done
	for name in "$@"; do
		gone "$name" 45 || { echo "cluster: $name does not end, and is killed" >&2; signal "$name" KILL || true; }
		gone "$name" 20 || fail "$name, pid $(pid_of "$name"), does not end"
		rm -f "$run/$name/pid"
	done
}
