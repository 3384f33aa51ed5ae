#!/usr/bin/env bash
# Four nodes that call each other for random numbers, with the Lamport clock at each step, until
# interrupted.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
node_binary > /dev/null
dir=run/clocks
scripts/cluster.sh down "$dir" 2>/dev/null || true
rm -rf "$dir"
scripts/generate-clocks.sh -o "$dir"
finish() {
  scripts/cluster.sh down "$dir"
  echo "the nodes are stopped" >&2
}
trap finish EXIT
trap 'exit 0' INT TERM
NODE_TRACE=1 scripts/cluster.sh up "$dir"
scripts/cluster.sh status "$dir" >&2
echo "a line: [node] [clock.node] what happened; end with Ctrl-C; in another terminal: $(node_binary) clock" >&2
scripts/cluster.sh tail "$dir"
