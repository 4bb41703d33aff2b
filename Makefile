# Rookery. `make` lists the targets.

GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10m
ROUNDS      ?= 50
DURATION    ?= 30m
RATE        ?= 2000
SOCKETS     ?= 3000
PACKAGES    ?= ./...

# The commit goes into the binary where git can tell it.
VCS = $(shell git status --porcelain >/dev/null 2>&1 && echo auto || echo false)

.DEFAULT_GOAL := help
.PHONY: help build run test unit lint fmt bench bench-quick bench-million bench-cluster fuzz crash chaos outage knownbugs upgrade autobahn foreign js cover docs services services-stop cluster clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/rookery, with the chat page's encryption
	web/crypto.sh
	$(GO) build -buildvcs=$(VCS) -o bin/ ./cmd/rookery

run: build ## build, and serve on the embedded defaults until Ctrl-C
	bin/rookery serve

test: ## everything a change has to pass; sets up what it needs but compilers and interpreters; about 35 minutes
	scripts/test.sh

services: ## Kafka, Cassandra, Redis and S3 on this machine, for the tests; the first time it installs them
	scripts/services.sh install
	scripts/services.sh start

services-stop: ## end them, and remove their data
	scripts/services.sh clean

cluster: build ## all of it on this machine, until Ctrl-C: Kafka, Cassandra, Redis, HAProxy with TLS, gateways, processors
	scripts/cluster.sh run

unit: ## the Go tests alone, without the race detector; `make services` first
	$(GO) test -p 2 -timeout 10m $(PACKAGES)

lint: ## gofmt, go vet and staticcheck
	scripts/lint.sh $(STATICCHECK)

fmt: ## format every Go file
	gofmt -w $$(git ls-files '*.go')

bench: build ## measure everything, beside ten peers (needs a C compiler and Rust); about 100 minutes on a quiet machine, and it goes on where it was
	scripts/peers.sh build
	bin/rookery bench

bench-quick: build ## the same in about ten minutes
	scripts/peers.sh build
	bin/rookery bench --quick

bench-million: build ## a million sessions in one server, on a machine of 24 GiB: 45 minutes
	bin/rookery bench --million

bench-cluster: build ## Kafka, Cassandra, Redis and HAProxy under it, on this machine: 25 minutes
	scripts/cluster/bench.sh

fuzz: ## every fuzz target, FUZZTIME (10m) each
	scripts/fuzz.sh $(FUZZTIME)

crash: ## kill the server under load ROUNDS (50) times and judge what it kept
	scripts/crash.sh $(ROUNDS)

chaos: build ## a cluster under load (RATE messages/s, SOCKETS) for DURATION (30m), of which one part after the other fails; needs root
	scripts/chaos.sh --duration $(DURATION) --rate $(RATE) --sockets $(SOCKETS)

outage: build ## the same cluster without Cassandra for five minutes, then without Kafka for one
	scripts/chaos.sh --duration 9m --outage 5m --rate $(RATE) --sockets $(SOCKETS)

knownbugs: ## switch on known faults, and see that the checker finds each; about ten minutes
	scripts/knownbugs.sh

upgrade: build ## under probes, a cluster from the program of commit FROM to this one, process by process; a minute
	scripts/upgrade.sh $(FROM)

autobahn: build ## all 517 cases of the Autobahn suite, about 20 minutes
	scripts/autobahn.sh all

foreign: build ## clients in Python and JavaScript against the server
	scripts/foreign.sh

js: ## the TypeScript SDK and the chat page: types, tests in Node and Chromium, build
	scripts/js.sh

cover: ## statement coverage of the tests, as .cache/cover.html
	@mkdir -p .cache
	$(GO) test -p 2 -timeout 20m -coverpkg=./... -coverprofile=.cache/cover.out $(PACKAGES)
	$(GO) tool cover -html=.cache/cover.out -o .cache/cover.html
	@$(GO) tool cover -func=.cache/cover.out | tail -1

docs: ## rewrite the generated tables of docs/operations.md
	$(GO) test ./internal/config ./internal/admin -run TestDocumentedTable -update

clean: services-stop ## remove bin and .cache, where programs and downloads are; not the data
	rm -rf bin .cache
