#!/usr/bin/env bash
# The servers that `rookery bench echo` compares ours with: builds them into
# .cache/peers and installs nothing anywhere else.
#
# usage: peers.sh build [NAME...]             # all of them, or some
#        peers.sh test                        # build, and see that each really echoes
#        peers.sh variants [NAME...] [-- ...] # measure each peer with each of its settings; what follows -- goes to `rookery bench echo`
#        peers.sh clean
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
source=$root/bench/peers
built=$root/.cache/peers

go_peers=(barego centrifuge coder gnet gobwas gorilla gws nbio)
all=(barec fastwebsockets "${go_peers[@]}")

fail() {
	echo "peers: $*" >&2
	exit 1
}

need() { command -v "$1" >/dev/null || fail "$2 needs $1: $3"; }

# Each compiler builds for the architecture in general, as Go's does, and not for
# the processor it runs on.
build_barec() {
	need cc barec "install a C compiler (Debian: apt-get install gcc libc6-dev)"
	cc -O2 -Wall -Wextra -Werror -o "$built/barec" "$source/barec/echo.c"
}

build_fastwebsockets() {
	need cargo fastwebsockets "install Rust 1.85 or newer with cargo (from your distribution, or rustup)"
	(cd "$source/fastwebsockets" && CARGO_TARGET_DIR="$root/.cache/peers-rust" cargo build --quiet --release)
	install "$root/.cache/peers-rust/release/fastwebsockets-echo" "$built/fastwebsockets"
}

build_go() {
	need go "$1" "install the Go that go.mod names"
	(cd "$source" && go build -trimpath -o "$built/$1" "./$1")
}

build() {
	local name
	mkdir -p "$built"
	for name in "$@"; do
		echo "building $name"
		case " ${go_peers[*]} " in
		*" $name "*) build_go "$name" ;;
		*)
			declare -F "build_$name" >/dev/null || fail "no peer $name: ${all[*]}"
			"build_$name"
			;;
		esac
	done
}

# The bare echoes are measured beside every peer: the ratio to them is what can
# be compared between runs.
variants() {
	local names=() name only
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		names+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	[ ${#names[@]} -gt 0 ] || names=("${all[@]}")
	[ -x bin/rookery ] || fail "no bin/rookery: make build"
	only=$(mktemp -d)
	trap "rm -r '$only'" EXIT
	for name in barec barego "${names[@]}"; do
		[ -x "$built/$name" ] || fail "$name is not built: scripts/peers.sh build"
		ln -sf "$built/$name" "$only/$name"
	done
	bin/rookery bench echo --peers "$only" --peer-variants "$@"
}

case ${1:-} in
build)
	shift
	[ $# -gt 0 ] || set -- "${all[@]}"
	build "$@"
	;;
test)
	build "${all[@]}"
	cd "$source" && PEERS="$built" go test -count=1 ./...
	;;
variants)
	shift
	variants "$@"
	;;
clean) rm -rf "$built" "$root/.cache/peers-rust" ;;
*)
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 2
	;;
esac
