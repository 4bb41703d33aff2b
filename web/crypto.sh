#!/usr/bin/env bash
# Puts the encryption of sdk/js, compiled, where it becomes a part of the binary: 8.1 MB, so it is compressed here once and not
# by each start of the server. It takes nothing but Go, and little time when nothing has changed.
set -euo pipefail
cd "$(dirname "$0")"
from=../sdk/js/src/e2ee to=static/crypto
../sdk/js/build-wasm.sh
cmp -s $from/go-exec.js $to/go-exec.js || cp $from/go-exec.js $to/go-exec.js
if [ $from/e2ee.wasm -nt $to/e2ee.wasm.gz ]; then
	gzip -9nc $from/e2ee.wasm >$to/e2ee.wasm.gz.new
	mv $to/e2ee.wasm.gz.new $to/e2ee.wasm.gz
fi
