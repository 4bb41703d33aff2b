# Sourced by scripts/services.sh: HAProxy with the configuration that whoever
# starts it has put into its folder, haproxy/haproxy.cfg, which binds to
# "127.0.0.1:${PORT}", and may bind to "127.0.0.1:${PLAIN}".

haproxy_ports=2

haproxy_prepare() { # haproxy_prepare NAME
	[ -f "$run/$1/haproxy.cfg" ] || { echo "no $run/$1/haproxy.cfg: put the configuration there first" >"$run/$1/log"; return 1; }
}

haproxy_run() { # haproxy_run NAME
	PATH=$PATH:/usr/sbin PORT=$(port "$1" 1) PLAIN=$(port "$1" 2) exec haproxy -db -f "$run/$1/haproxy.cfg"
}

haproxy_answers() { # haproxy_answers NAME
	exchange "$(port "$1" 1)"
}

haproxy_env() {
	! alive haproxy || echo "HAPROXY=127.0.0.1:$(port haproxy 1)"
}
