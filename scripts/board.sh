#!/usr/bin/env bash
# The bulletin system, eight processes, and its interactive client; stops the processes at the end.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
dir=run/board
scripts/cluster.sh down "$dir" 2>/dev/null || true
rm -rf "$dir"
scripts/generate-board.sh -o "$dir"
finish() {
  scripts/cluster.sh down "$dir"
  echo "the nodes are stopped" >&2
}
trap finish EXIT
trap 'exit 130' INT TERM
scripts/cluster.sh up "$dir"
scripts/cluster.sh status "$dir" >&2
wait_for 20 "the servers have a coordinator" servers_agree 127.0.0.1:10504 127.0.0.1:10505 127.0.0.1:10506
echo "in another terminal:
  scripts/cluster.sh tail $dir      what the nodes print
  $binary skew                      how far the servers' clocks are apart
  $binary board --user bob          somebody else" >&2
"$binary" board --user "${USER:-somebody}"
