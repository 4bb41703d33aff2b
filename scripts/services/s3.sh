# Sourced by scripts/services.sh: an S3 service that keeps objects in a folder,
# versitygw. Users make their own buckets.

s3_ports=1
s3_version=v1.8.0

s3_prepare() { # s3_prepare NAME
	mkdir -p "$run/$1/objects" "$run/$1/sidecar"
	echo "$user $password" >"$run/$1/login"
}

s3_run() { # s3_run NAME
	local login
	read -ra login <"$run/$1/login"
	ROOT_ACCESS_KEY=${login[0]} ROOT_SECRET_KEY=${login[1]} exec "$cache/s3/versitygw" --quiet --port "127.0.0.1:$(port "$1" 1)" \
		posix --sidecar "$run/$1/sidecar" "$run/$1/objects" # metadata beside, as not every filesystem has attributes
}

s3_answers() { # s3_answers NAME
	[ "$(exchange "$(port "$1" 1)" 'GET / HTTP/1.0\r\n\r\n' 5)" = 485454502f ] # HTTP/
}

s3_env() {
	alive s3 || return 0
	echo "S3=127.0.0.1:$(port s3 1)"
	echo "S3_ACCESS_KEY=$user"
	echo "S3_SECRET_KEY=$password"
}

# install_s3 builds it, which takes some minutes the first time.
install_s3() {
	local file=$cache/s3/versitygw
	[ "$(cat "$cache/s3/version" 2>/dev/null)" != "$s3_version" ] || [ ! -x "$file" ] || return 0
	echo "services: building versitygw $s3_version"
	mkdir -p "$cache/s3"
	GOFLAGS=-mod=mod GOBIN=$cache/s3 nice -n 10 go install "github.com/versity/versitygw/cmd/versitygw@$s3_version" >"$cache/s3.log" 2>&1 ||
		{ tail -20 "$cache/s3.log" >&2; fail "go could not build versitygw"; }
	echo "$s3_version" >"$cache/s3/version"
}
