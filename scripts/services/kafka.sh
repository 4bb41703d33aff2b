# Sourced by scripts/services.sh: one broker, kafka, or three, kafka-1 to kafka-3.
# Ports: clients in the clear, clients with TLS and a login, controllers.

kafka_ports=3

kafka_prepare() { # kafka_prepare NAME
	local name=$1 dir=$run/$1 node=1 voters replicas=1 min_isr=1
	voters="1@127.0.0.1:$(port "$name" 3)"
	if [ "$name" != kafka ]; then
		node=${name#kafka-} replicas=3 min_isr=2
		voters="1@127.0.0.1:$(port kafka-1 3),2@127.0.0.1:$(port kafka-2 3),3@127.0.0.1:$(port kafka-3 3)"
	fi
	render kafka/server.properties "$dir/server.properties" NODE="$node" VOTERS="$voters" REPLICAS=$replicas MIN_ISR=$min_isr \
		PORT="$(port "$name" 1)" SASL_PORT="$(port "$name" 2)" CONTROLLER_PORT="$(port "$name" 3)"
	[ ! -f "$dir/data/meta.properties" ] || return 0
	(SERVICES_ARCHIVE='' kafka_java -Xmx128m kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk \
		-c "$dir/server.properties" --add-scram "SCRAM-SHA-512=[name=$user,password=$password]" >"$dir/log" 2>&1)
}

kafka_run() { # kafka_run NAME
	local heap=384m
	[ -z "${SERVICES_LARGE:-}" ] || heap=1g
	kafka_java -Xms$heap -Xmx$heap -XX:MaxGCPauseMillis=20 kafka.Kafka "$run/$1/server.properties"
}

kafka_java() { # kafka_java ARGUMENT...
	exec java $(jvm kafka) -XX:+UseG1GC -XX:ParallelGCThreads=2 -XX:ConcGCThreads=1 -Djava.awt.headless=true \
		-Dlog4j2.configurationFile="$here/kafka/log4j2.yaml" -cp "$cache/kafka/libs/*" "$@"
}

# Registered with the controller, and answers ApiVersions (key 18, version 0) with the same correlation.
kafka_answers() { # kafka_answers NAME
	grep -q 'Kafka Server started' "$run/$1/log" || return 1
	local reply
	reply=$(exchange "$(port "$1" 1)" '\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff' 8)
	[ "${reply:8}" = 00000007 ]
}

kafka_env() {
	local name all='' all_sasl=''
	if alive kafka; then
		echo "KAFKA=127.0.0.1:$(port kafka 1)"
		echo "KAFKA_SASL=127.0.0.1:$(port kafka 2)"
	fi
	for name in kafka-1 kafka-2 kafka-3; do
		[ -f "$run/$name/ports" ] || continue
		all+=,127.0.0.1:$(port $name 1) all_sasl+=,127.0.0.1:$(port $name 2)
	done
	if [ -n "$all" ]; then
		echo "KAFKA3=${all#,}"
		echo "KAFKA3_SASL=${all_sasl#,}"
	fi
	echo "KAFKA_USER=$user"
	echo "KAFKA_PASSWORD=$password"
}
