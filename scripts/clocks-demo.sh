#!/usr/bin/env bash
# Shows, unattended, four nodes that call each other for random numbers, one of them restarted, and
# judges their clocks: no receive is earlier than its send, and no node's clock ever goes back.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
dir=run/clocks-demo
port=10201 calls=5 ids="1 2 3 4" restarted=4
# The nodes' lines of the step before come through a pipe: leave them the time to be first.
say() { sleep 0.3; printf '\n== %s\n' "$*"; }
fail() { echo "clocks-demo: $*" >&2; exit 1; }
address() { echo "127.0.0.1:$((port + $1 - 1))"; }
is_done() { [ "$(status_of "$(address "$1")" calls)" -eq $calls ] && ! is_calling "$1"; }
is_calling() { # NODE: a call of it is under way
  local at
  at=$(address "$1")
  [ $(($(status_of "$at" answered) + $(status_of "$at" timed_out))) -lt "$(status_of "$at" calls)" ]
}
# What verify says of the clients' names has no part in clocks; what went wrong has.
verdict() {
  "$binary" verify --property clock_condition --property clock_strictly_increases \
    "$dir"/node-*.jsonl 2> "$dir/verify.err" || { cat "$dir/verify.err" >&2; return 1; }
}

clear_folder "$dir" "make clocks-demo"
scripts/generate-clocks.sh -o "$dir" -p $port -i 100,400 -c $calls -d
tailer=""
finish() {
  code=$?
  [ -z "$tailer" ] || kill "$tailer" 2>/dev/null || true
  scripts/cluster.sh down "$dir"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM
export NODE_TRACE=1

say "four nodes start; each calls a random other $calls times: [node] [clock.node] what happened"
scripts/cluster.sh up "$dir"
scripts/cluster.sh tail "$dir" &
tailer=$!
for id in $ids; do wait_for 20 "node $id has made its calls" is_done "$id"; done

say "a client calls node 2, with a clock that is ahead: node 2's catches up"
"$binary" clock --server "$(address 2)" --clock 1000

before=$(status_of "$(address $restarted)" clock)
say "node $restarted is restarted; its clock stands at $before"
scripts/cluster.sh down "$dir" $restarted
scripts/cluster.sh up "$dir" $restarted
after=$(status_of "$(address $restarted)" clock)
wait_for 20 "node $restarted has made its calls" is_done $restarted
say "its clock went on above $before, at about $after: on disk is a bound, a million ahead"
[ "$after" -gt "$before" ] || fail "the clock of node $restarted went from $before to $after"

say "the nodes since they were started"
printf '%-6s %6s %9s %9s %7s %9s\n' node calls answered given-up served clock
for id in $ids; do
  at=$(address "$id")
  printf '%-6s' "$id"
  printf ' %6s %9s %9s %7s %9s\n' "$(status_of "$at" calls)" "$(status_of "$at" answered)" \
    "$(status_of "$at" timed_out)" "$(status_of "$at" served)" "$(status_of "$at" clock)"
done
scripts/cluster.sh down "$dir"

say "the verdict on all that the nodes traced"
verdict || fail "the clocks did not hold, or could not be judged"
say "done: every receive was later than its send, and no clock went back"
echo "the run as a page: $binary explain $dir/node-*.jsonl -o $dir/run.html" >&2
