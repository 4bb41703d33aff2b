# Sourced by scripts/services.sh: what the servers need, fetched once.

# install_jars KIND: the jars of KIND/pom.xml, as a whole or not at all.
install_jars() {
	local kind=$1 to=$cache/$1/libs
	[ -d "$to" ] && return
	echo "services: fetching $kind"
	rm -rf "$to.part"
	mvn -q -B -f "$here/$kind/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$to.part" >"$cache/mvn.log" 2>&1 ||
		{ tail -20 "$cache/mvn.log" >&2; fail "mvn could not fetch $kind"; }
	mv "$to.part" "$to"
}

# install_packages: what has no command yet, by apt. Debian starts a server it
# installs unless policy-rc.d says 101; one that is there already is kept.
install_packages() {
	local wanted=() pair sudo='' policy=/usr/sbin/policy-rc.d ours=''
	for pair in java:openjdk-17-jre-headless mvn:maven redis-server:redis-server haproxy:haproxy nft:nftables ss:iproute2 openssl:openssl; do
		PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || wanted+=("${pair#*:}")
	done
	[ ${#wanted[@]} -eq 0 ] && return
	command -v apt-get >/dev/null || fail "no apt-get here; install ${wanted[*]} by hand"
	[ "$(id -u)" = 0 ] || sudo=sudo
	echo "services: installing ${wanted[*]}"
	if [ ! -e $policy ]; then
		ours=yes
		printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
		$sudo chmod 755 $policy
	fi
	local status=0
	$sudo apt-get update -q >"$cache/apt.log" 2>&1 &&
		$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${wanted[@]}" >>"$cache/apt.log" 2>&1 || status=$?
	[ -z "$ours" ] || $sudo rm -f $policy
	[ $status -eq 0 ] || { tail -20 "$cache/apt.log" >&2; fail "apt-get could not install ${wanted[*]}"; }
}

# archive_classes KIND: runs it once to write down the classes that it loads,
# which makes its later starts take a half to a third of the processor time.
archive_classes() {
	local kind=$1
	[ ! -f "$cache/$kind/classes" ] || return 0
	echo "services: a first start of $kind, to archive its classes"
	local -x SERVICES_RUN=$cache/archive SERVICES_ARCHIVE=yes SERVICES_OWNER=$$ # nothing stays when this ends early
	"$root/scripts/services.sh" start "$kind" >/dev/null
	"$root/scripts/services.sh" stop "$kind"
	"$root/scripts/services.sh" clean
	mv "$cache/$kind/classes.part" "$cache/$kind/classes"
}

install_all() {
	need_space "$cache" 3000
	install_packages
	install_jars kafka
	install_jars cassandra
	install_s3
	archive_classes kafka
	archive_classes cassandra
}

# need_installed KIND: says what to do when it is not.
need_installed() {
	case $1 in
	kafka | cassandra) [ -d "$cache/$1/libs" ] && command -v java >/dev/null ;;
	s3) [ -x "$cache/s3/versitygw" ] ;;
	redis) command -v redis-server >/dev/null ;;
	haproxy) PATH=$PATH:/usr/sbin command -v haproxy >/dev/null ;;
	esac || fail "$1 is not installed: run make services"
}
