# Sourced by scripts/services.sh: one Redis. Ports: in the clear, TLS.

redis_ports=2

redis_prepare() { # redis_prepare NAME
	render redis/redis.conf "$run/$1/redis.conf" PORT="$(port "$1" 1)" TLS_PORT="$(port "$1" 2)"
}

redis_run() { # redis_run NAME
	exec redis-server "$run/$1/redis.conf"
}

redis_answers() { # redis_answers NAME
	[ "$(exchange "$(port "$1" 1)" 'PING\r\n' 5)" = 2b504f4e47 ] # +PONG
}

redis_env() {
	alive redis || return 0
	echo "REDIS=127.0.0.1:$(port redis 1)"
	echo "REDIS_TLS=127.0.0.1:$(port redis 2)"
	echo "REDIS_USER=$user"
	echo "REDIS_PASSWORD=$password"
}
