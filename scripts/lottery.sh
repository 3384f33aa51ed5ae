#!/usr/bin/env bash
# The whole lottery as real processes: a central, and one agency for each file of bets. Says who won,
# and whether all bets were stored once and the right ones won; the exit code says so too.
set -eu
usage() {
  cat <<'USAGE'
usage: scripts/lottery.sh [DIR]

Without DIR, bets are generated, and their winners are known. With DIR, its files agency-1.csv,
agency-2.csv, … are sent; winners are compared where it has a winners.txt (`agency: documents…`).
All that is written goes to run/lottery. PORT is the central's first port, 12345 by default.
USAGE
}
case "${1:-}" in -h | --help) usage; exit 0 ;; -*) usage >&2; exit 2 ;; esac
bets=${1:-}
if [ -n "$bets" ]; then
  bets=$(cd "$bets" 2>/dev/null && pwd) || { echo "no folder $1" >&2; exit 2; }
fi
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
dir=run/lottery port=${PORT:-12345}
fail() { echo "lottery: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }

clear_folder "$dir" "make lottery"
mkdir -p "$dir"
if [ -z "$bets" ]; then
  bets=$dir/bets
  scripts/generate-bets.sh -o "$bets"
fi
agencies=0
while [ -f "$bets/agency-$((agencies + 1)).csv" ]; do agencies=$((agencies + 1)); done
[ "$agencies" -gt 0 ] || fail "$bets has no agency-1.csv"
all=$(find "$bets" -maxdepth 1 -name 'agency-*.csv' | wc -l)
[ "$agencies" -eq "$all" ] || fail "$bets has $all files agency-N.csv, but no agency-$((agencies + 1)).csv"

cat > "$dir/node-1.toml" <<CONFIG
# The central, written by scripts/lottery.sh; configs/lottery/central.toml explains the keys.
[node]
id = 1
cluster = "lottery"
data_dir = "$dir/data"

[[listeners]]
addr = "127.0.0.1:$port"
gateway = "lottery-text"

[[listeners]]
addr = "127.0.0.1:$((port + 1))"

[protocols.lottery]
agencies = $agencies
CONFIG

agents=""
finish() {
  code=$?
  # shellcheck disable=SC2086
  [ -z "$agents" ] || kill $agents 2>/dev/null || true
  scripts/cluster.sh down "$dir"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

say "the central starts, and $agencies agencies send their bets"
begin=$(date +%s.%N)
scripts/cluster.sh up "$dir"
# Each says here with what it ended: `wait -n` does not know of one that ended before it was called.
mkfifo "$dir/ended"
exec 3<> "$dir/ended"
# agency ID: one agency, which ends early with this.
agency() {
  local agent code=0
  "$binary" agency --id "$1" --central "127.0.0.1:$((port + 1))" --bets "$bets/agency-$1.csv" \
    --period-ms 200 > "$dir/agency-$1.out" 2> "$dir/agency-$1.log" &
  agent=$!
  trap 'kill "$agent" 2>/dev/null || true' TERM
  wait "$agent" || code=$?
  echo "$code" >&3
}
for id in $(seq "$agencies"); do
  agency "$id" &
  agents="$agents $!"
done
code=0
# Without the bets of one, the others would wait for a draw without end.
for _ in $agents; do
  read -r code <&3
  [ "$code" -eq 0 ] || break
done
if [ "$code" -ne 0 ]; then
  grep -h 'result: fail' "$dir"/agency-*.out >&2 || true
  fail "an agency ended with $code, and the others were stopped; what each said is in $dir/agency-*.out and .log"
fi
agents=""
scripts/cluster.sh down "$dir"
awk -v from="$begin" -v to="$(date +%s.%N)" 'BEGIN { printf "done in %.1f s\n", to - from }'

say "the winners, by agency"
for id in $(seq "$agencies"); do
  winners "$id" < "$dir/agency-$id.out"
done | tee "$dir/winners.txt"

say "the verdict"
sent=0
for id in $(seq "$agencies"); do sent=$((sent + $(rows "$bets/agency-$id.csv"))); done
stored=$(rows "$dir/data/bets.csv")
[ "$stored" -eq "$sent" ] || fail "$sent bets were sent, and bets.csv has $stored"
echo "bets.csv has all $stored bets"
draws=$(grep -c 'action: sorteo | result: success' "$dir/node-1.out" || true)
[ "$draws" -eq 1 ] || fail "there were $draws draws"
echo "there was one draw"
if [ -f "$bets/winners.txt" ]; then
  diff "$bets/winners.txt" "$dir/winners.txt" >&2 || fail "these (<) should have won, and these (>) did"
  echo "the winners are the right ones"
fi
