#!/usr/bin/env bash
# Shows, unattended, N nodes that elect a coordinator, lose it, elect the next and get it back; says
# how long each step took and how many messages it cost, and judges the elections by the traces.
set -eu
case "${1:-4}" in
  -h | --help) echo "usage: scripts/election-demo.sh [NODES]   (4)"; exit 0 ;;
  *[!0-9]* | "") echo "NODES is a number" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
nodes=${1:-4}
[ "$nodes" -ge 3 ] || { echo "NODES must be 3 or more: one is taken down" >&2; exit 2; }
dir=run/election-demo
# Many processes start, and answer, slowly on few processors.
timeout=$((300 + 15 * nodes)) check=500
# By then all agree: a health check, five timeouts, and the links that are made anew.
bound=$((check + 5 * timeout + 2000))
LONG=$((60 + nodes))
top=$nodes next=$((nodes - 1))
# The nodes' lines of the step before come through a pipe: leave them the time to be first.
say() { sleep 0.3; printf '\n== %s\n' "$*"; }
fail() { echo "election-demo: $*" >&2; exit 1; }
seconds() { date +%s.%N; }
# quiet: leaves the nodes alone for as long as the verdict needs.
quiet() { sleep "$(awk -v ms=$bound 'BEGIN { print ms / 1000 + 0.5 }')"; }
since() { awk -v from="$1" -v to="$(seconds)" 'BEGIN { printf "%.3f", to - from }'; }

# agreed COORDINATOR FIRST LAST: whether nodes FIRST to LAST hold it, by the last line of each that
# says who coordinates.
agreed() {
  local id files=""
  for id in $(seq "$2" "$3"); do files="$files $dir/node-$id.out"; done
  # shellcheck disable=SC2086
  awk -v coordinator="$1" -v want=$(($3 - $2 + 1)) '
    / I am the coordinator, / { split($1, time, /[.\]]/); held[FILENAME] = time[2] }
    / is the coordinator$/ { held[FILENAME] = $2 }
    END { for (file in held) n += held[file] == coordinator; exit n != want }' $files
}

clear_folder "$dir" "make election-demo"
scripts/generate-election.sh -n "$nodes" -o "$dir" -t $timeout -c $check -d
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

say "$nodes nodes start: [node] [clock.node] what happened"
begin=$(seconds)
scripts/cluster.sh up "$dir"
if [ "$nodes" -le 10 ]; then
  scripts/cluster.sh tail "$dir" &
  tailer=$!
fi
wait_for $LONG "all hold $top coordinator" agreed "$top" 1 "$nodes"
say "all $nodes hold node $top coordinator, $(since "$begin") s after the start"

quiet
say "node $top is killed"
begin=$(seconds)
kill -KILL "$(cat "$dir/node-$top.pid")"
wait_for $LONG "all others hold $next coordinator" agreed "$next" 1 "$next"
say "all others hold node $next coordinator, $(since "$begin") s later"

quiet
say "node $top is started again"
begin=$(seconds)
scripts/cluster.sh up "$dir" "$top"
wait_for $LONG "all hold $top coordinator again" agreed "$top" 1 "$nodes"
say "all hold node $top coordinator again, $(since "$begin") s later"
quiet
scripts/cluster.sh down "$dir"

say "the elections, by what the nodes traced"
"$binary" explain "$dir"/node-*.jsonl --table elections
say "the verdict"
"$binary" verify --bound agree_ms=$bound --property election_terminates \
  --property one_coordinator_per_component --property highest_live_id_wins "$dir"/node-*.jsonl ||
  fail "the elections did not hold, or could not be judged"
say "done: the highest live node coordinated, and all agreed"
echo "again: $binary verify --bound agree_ms=$bound $dir/node-*.jsonl" >&2
echo "the run as a page: $binary explain $dir/node-*.jsonl -o $dir/run.html" >&2
