#!/usr/bin/env bash
# Looks whether the tools are there that the tests need, tells all that are
# missing, fetches the Go modules, and installs the servers that tests run
# against, which takes root for apt-get. scripts/autobahn.sh and
# scripts/foreign.sh make their own environments, in .cache.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache

missing=0
need() { # need COMMAND WHAT-FOR
	command -v "$1" >/dev/null || { echo "setup: no $1, which $2" >&2; missing=1; }
}
need git "names the commit in the binary, and lists the files to check"
need go "builds everything (1.26 or newer)"
need cc "links the race detector"
need python3 "runs a foreign client and Autobahn's verdict (3.10 or newer, with venv)"
need node "runs a foreign client (20 or newer)"
need npm "installs its modules"
need flock "keeps two starts of the servers apart (util-linux)"
[ $missing -eq 0 ] || exit 2

go mod download
for m in $(git ls-files '*/go.mod' | xargs -r -n1 dirname | grep -v '^bench/'); do
	(cd "$m" && go mod download)
done
scripts/services.sh install
