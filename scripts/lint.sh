#!/usr/bin/env bash
# gofmt, go vet, and staticcheck of the given version.
#
# usage: lint.sh staticcheck-package@version
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(gofmt -l $(git ls-files -co --exclude-standard '*.go'))
if [ -n "$unformatted" ]; then
	echo "lint: not gofmt's (make fmt mends it):" >&2
	echo "$unformatted" >&2
	exit 1
fi
go vet ./...
go vet -tags invariants,failpoints ./...
go run "$1" ./...
