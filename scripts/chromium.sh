#!/usr/bin/env bash
# Installs Chromium for the tests of the TypeScript SDK, by apt, where it is
# missing. CHROMIUM names another one.
set -euo pipefail
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] && exit
command -v apt-get >/dev/null || { echo "chromium: not installed, and no apt-get here: set CHROMIUM" >&2; exit 1; }
sudo=''
[ "$(id -u)" = 0 ] || sudo=sudo
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "chromium: installing it"
$sudo apt-get update -q >"$log" 2>&1 &&
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium >>"$log" 2>&1 ||
	{ tail -20 "$log" >&2; exit 1; }
