#!/usr/bin/env bash
# Measures calls for random numbers between two real nodes on loopback: one node calls the other again
# as soon as the answer has come. SECONDS_EACH sets how long (3).
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
node_binary > /dev/null
seconds=${SECONDS_EACH:-3}
dir=run/bench-clocks
port=30201
clear_folder "$dir" "make bench"
finish() { scripts/cluster.sh down "$dir" 2>/dev/null || true; }
trap finish EXIT
trap 'exit 130' INT TERM
scripts/generate-clocks.sh -q -n 2 -o "$dir" -p $port -i 3600000,3600000 -t 100 2> /dev/null
sed -i 's/^interval_ms = .*/interval_ms = [0, 0]/' "$dir/node-1.toml"
scripts/cluster.sh up "$dir"
answered() { status_of "127.0.0.1:$port" answered; }
calls() { [ "$(answered)" -gt 1000 ]; }
wait_for 10 "node 1 calls node 2" calls
from=$(answered) from_ns=$(date +%s%N)
sleep "$seconds"
to=$(answered) to_ns=$(date +%s%N)
awk -v calls=$((to - from)) -v ns=$((to_ns - from_ns)) \
  'BEGIN { printf "%.0f calls/s, %.1f us a call, one at a time, console lines off\n", calls * 1e9 / ns, ns / 1e3 / calls }'
