#!/usr/bin/env bash
# Three servers of the key-value store and the interactive client; stops the servers at the end.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
dir=run/kv
clear_folder "$dir" "make kv" "talk to it with $binary kv"
scripts/generate-kv.sh -o "$dir"
tailer=""
finish() {
  scripts/cluster.sh down "$dir"
  [ -z "$tailer" ] || kill "$tailer" 2>/dev/null || true
  echo "the servers are stopped" >&2
}
trap finish EXIT
trap 'exit 130' INT TERM
scripts/cluster.sh up "$dir"
scripts/cluster.sh status "$dir" >&2
scripts/cluster.sh tail "$dir" &
tailer=$!
for port in 10097 10098 10099; do wait_for 10 "server 127.0.0.1:$port is complete" is_complete "127.0.0.1:$port"; done
echo "lines behind [1] [2] [3] are the servers' consoles; end with Ctrl-D" >&2
"$binary" kv
