#!/usr/bin/env bash
# Writes the Go files of delivery.proto. Needs python3 with venv, and fetches
# the compiler and its plugins in the versions named here.
set -euo pipefail
cd "$(dirname "$0")"

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" -q install grpcio-tools==1.85.1
export GOBIN="$tools/bin"
go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0

PATH="$GOBIN:$PATH" "$tools/venv/bin/python" -m grpc_tools.protoc -I. \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	delivery.proto
