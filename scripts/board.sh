#!/usr/bin/env bash
# The bulletin system, eight processes, and its interactive client; stops the processes at the end.
set -eu
usage() {
  cat <<'USAGE'
usage: scripts/board.sh

All that is written goes to run/board. PORT is the first port, 10501 by default.
USAGE
}
case "${1:-}" in "") ;; -h | --help) usage; exit 0 ;; *) usage >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
dir=run/board port=${PORT:-10501} address=127.0.0.1
server() { echo "$address:$((port + 2 + $1))"; }
# listener ROLE: where that node of the folder listens; nothing when there is none.
listener() {
  local config
  config=$(grep -l "^role = \"$1\"" "$dir"/node-*.toml 2>/dev/null | head -n 1)
  [ -z "$config" ] || sed -n 's/^addr = "\(.*\)"/\1/p' "$config" | head -n 1
}
# at: the options that lead a client to the system of the folder; none where it looks by itself.
at() {
  local at
  at="--broker $(listener broker) --proxy $(listener proxy) "
  [ "$at" = "--broker 127.0.0.1:10501 --proxy 127.0.0.1:10502 " ] || echo "$at"
}
clear_folder "$dir" "the bulletin system" "join it with $binary board $(at)--user NAME"
scripts/generate-board.sh -o "$dir" -p "$port" -a $address
nodes=""
[ "$port" = 10501 ] || nodes=" --nodes $(server 1),$(server 2),$(server 3)"
finish() {
  scripts/cluster.sh down "$dir"
  echo "the nodes are stopped" >&2
}
trap finish EXIT
trap 'exit 130' INT TERM
scripts/cluster.sh up "$dir"
scripts/cluster.sh status "$dir" >&2
wait_for 20 "the servers have a coordinator" servers_agree "$(server 1)" "$(server 2)" "$(server 3)"
echo "in another terminal:
  what the nodes print:                    scripts/cluster.sh tail $dir
  how far the servers' clocks are apart:   $binary skew$nodes
  somebody else:                           $binary board $(at)--user bob" >&2
# shellcheck disable=SC2046
"$binary" board $(at) --user "${USER:-somebody}"
