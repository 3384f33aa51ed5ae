#!/usr/bin/env bash
# Four nodes that elect a coordinator, to watch and to kill, until interrupted.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
node_binary > /dev/null
dir=run/election
scripts/cluster.sh down "$dir" 2>/dev/null || true
rm -rf "$dir"
scripts/generate-election.sh -o "$dir"
finish() {
  scripts/cluster.sh down "$dir"
  echo "the nodes are stopped" >&2
}
trap finish EXIT
trap 'exit 0' INT TERM
NODE_TRACE=1 scripts/cluster.sh up "$dir"
scripts/cluster.sh status "$dir" >&2
cat >&2 <<TEXT
a line: [node] [clock.node] what happened; end with Ctrl-C. In another terminal:
  kill -9 \$(cat $dir/node-4.pid)                 the coordinator is gone
  scripts/cluster.sh up $dir 4                   and is back
  target/release/node explain --elections $dir/node-*.jsonl
TEXT
scripts/cluster.sh tail "$dir"
