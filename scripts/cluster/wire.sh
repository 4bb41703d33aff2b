# Sourced by scripts/cluster.sh: what joins the parts: keys, certificates,
# configuration, topics, tables, the balancer's environment.

need_resources() {
	local megabytes=$((2300 + 700 * ${#brokers[@]})) free
	free=$(awk '/^MemAvailable/ { print int($2/1024) }' /proc/meminfo)
	[ "$free" -ge $megabytes ] || fail "$free MB of memory are available, and $megabytes are needed$([ ${#brokers[@]} -eq 1 ] || echo "; CLUSTER_BROKERS=1 takes less")"
	megabytes=$((2000 + 1000 * ${#brokers[@]} + $([ -d "$cache/kafka/libs" ] && echo 0 || echo 1000)))
	need_space "$run" $megabytes
}

# prepare makes what does not change any more: passwords, the development key,
# certificates for the links between processes and for the balancer.
prepare() {
	mkdir -p "$run/data"
	echo "${#brokers[@]}" >"$run/brokers"
	echo cassandra >"$run/cassandra.password" # Cassandra's own default
	[ -f "$run/data/dev-key.json" ] ||
		echo "{\"kid\":\"dev\",\"alg\":\"EdDSA\",\"private\":\"$(openssl rand -base64 32 | tr '+/' '-_' | tr -d =)\"}" >"$run/data/dev-key.json"
	local name
	for name in "${gateways[@]}" "${processors[@]}"; do certificate links "$name"; done
	# Another authority: who trusts the balancer's certificate is no process.
	certificate tls haproxy --host localhost --host 127.0.0.1
	cat "$run/tls/haproxy.pem" "$run/tls/haproxy.key" >"$run/tls/balancer.pem"
}

certificate() { # certificate FOLDER NAME [FLAG...]
	openssl x509 -noout -checkend 604800 -in "$run/$1/$2.pem" >/dev/null 2>&1 && return
	"$binary" admin certs --force --dir "$run/$1" --name "$2" "${@:3}" >"$run/certs.log" 2>&1 || { cat "$run/certs.log" >&2; fail "no certificate for $2"; }
}

service_env() { sed -n "s/^$1=//p" "$run/services/env"; } # service_env KEY

# write_config writes what all gateways and processors have in common, and the
# commands of admin.
write_config() {
	local kafka=KAFKA
	[ ${#brokers[@]} -eq 1 ] || kafka=KAFKA3
	cat >"$run/rookery.yaml" <<-YAML
		data: $run/data
		listen_proxy: proxy
		listen_trusted: [127.0.0.1]
		auth:
		  dev_key: true
		session:
		  unauthenticated_per_address: 100000
		pipeline:
		  url: kafka://$(service_env $kafka)/rookery
		store:
		  url: cql://$(service_env CASSANDRA)/rookery
		presence:
		  url: redis://$(service_env REDIS)
		kafka:
		  session_timeout: 6s
		cql:
		  user: $(service_env CASSANDRA_USER)
		  password_file: $run/cassandra.password
		rpc:
		  ca: $run/links/ca.pem
		drain:
		  grace: 5s
		  retry: 2s
	YAML
}

# make_tables makes topics and tables, at once.
make_tables() {
	local jobs=() job failed=0
	admin topics --create --replicas "${#brokers[@]}" --partitions "${CLUSTER_PARTITIONS:-16}" &
	jobs+=($!)
	admin schema --replication 1 &
	jobs+=($!)
	for job in "${jobs[@]}"; do wait "$job" || failed=1; done
	[ $failed -eq 0 ] || fail "topics or tables are missing"
}

admin() { # admin WHAT FLAG...
	local before=$SECONDS log=$run/$1.log
	"$binary" admin "$@" --config "$run/rookery.yaml" >"$log" 2>&1 || { echo "cluster: rookery admin $1 failed; the end of $log:" >&2; tail -n 20 "$log" >&2; return 1; }
	echo "cluster: rookery admin $1 is done, after $((SECONDS - before)) s"
}

# export_haproxy says to deploy/haproxy.cfg what differs from place to place.
export_haproxy() {
	local n files
	files=$(ulimit -Hn)
	[ "$files" != unlimited ] && [ "$files" -lt 41000 ] || files=41000
	export ADDRESS=127.0.0.1 CERT=$run/tls/balancer.pem STATS=unix@stats.sock CONNRATE=1000000
	export MAXCONN=$(((files - 1000) / 2)) # two descriptors each
	for n in 1 2 3; do
		export "GATEWAY_$n=127.0.0.1:$(port gateway-$n 1)" "GATEWAY_${n}_ADMIN=$(port gateway-$n 2)"
	done
	mkdir -p "$run/services/haproxy"
	cp "$root/deploy/haproxy.cfg" "$run/services/haproxy/haproxy.cfg"
}

start_haproxy() {
	export_haproxy
	services start haproxy
}
