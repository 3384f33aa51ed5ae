#!/usr/bin/env bash
# Four nodes that elect a coordinator, to watch and to kill, until interrupted.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
watch election "  kill -9 \$(cat run/election/node-4.pid)     the coordinator is gone
  scripts/cluster.sh up run/election 4       and is back
  $(node_binary) explain run/election/node-*.jsonl --table elections"
