#!/usr/bin/env bash
# A cluster of its own, fit to be measured, and `rookery bench` of it: one broker
# with one copy, three gateways, two processors, Cassandra, Redis, HAProxy. About
# 25 minutes, of which five are the JVMs' warm-up and what firehoses leave behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

export CLUSTER_RUN=$PWD/.cache/cluster-bench CLUSTER_BROKERS=1 CLUSTER_PARTITIONS=4 SERVICES_LARGE=yes
export ROOKERY_SESSION_UNAUTHENTICATED_PER_ADDRESS=100000 ROOKERY_SESSION_RATE_MESSAGES=1000000 ROOKERY_SESSION_RATE_BURST=1000000 ROOKERY_SESSION_RATE_BYTES=1GiB
mkdir -p .cache
exec 6>"$CLUSTER_RUN.lock"
flock 6
trap 'scripts/cluster.sh clean' EXIT
[ ! -d "$CLUSTER_RUN" ] || scripts/cluster.sh clean # of one that could not clean up
scripts/cluster.sh up 6>&-
bin/rookery bench real --cluster "$CLUSTER_RUN" --connections 500 --rate 500 --warmup 2m --duration 10s >/dev/null || true # the JVMs compile: late as it is, it is mostly invalid, and what is not up fails below
bin/rookery bench --cluster "$CLUSTER_RUN" "$@"
