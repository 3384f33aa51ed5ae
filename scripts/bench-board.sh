#!/usr/bin/env bash
# Measures a proxy of the bulletin system alone, over NATS on loopback: windows of 1, 100 and 1000
# messages, and one of 100 beside a subscriber that never reads. SECONDS_EACH sets how long each takes (3).
# With SERVER (address:port) and, to see what it uses, PID set, it measures that NATS server instead.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
seconds=${SECONDS_EACH:-3}
dir=run/bench-board
port=30301
server=${SERVER:-}
pid=${PID:-}
finish() { scripts/cluster.sh down "$dir" 2>/dev/null || true; }
number() { # NAME: that number of the report, or nothing
  printf '%s' "$report" | sed -n "s/.*\"$1\":\([0-9.e+-]*\)[,}].*/\1/p"
}
measure() { # WINDOW NOT_READING
  # Without a process to look at, --pid stays out.
  report=$("$binary" bench board --json --server "$server" --seconds "$seconds" --window "$1" \
    --not-reading "$2" ${pid:+--pid "$pid"}) || {
    echo "window $1, $2 not reading: the run failed: $report" >&2
    return 1
  }
  local rss
  rss=$(number rss_peak_bytes)
  awk -v window="$1" -v idle="$2" -v deliveries="$(number deliveries_per_s)" -v published="$(number publications_per_s)" \
    -v p50="$(number p50_us)" -v p99="$(number p99_us)" -v max="$(number max_us)" -v lost="$(number lost)" \
    -v cpu="$(number cpu_s_per_million)" -v cores="$(number server_cores)" -v own="$(number generator_cores)" \
    -v rss="$rss" 'BEGIN {
      printf "%6d %11d %12.0f %11.0f %9.1f %9.1f %9.0f %6d", window, idle, deliveries, published, p50, p99, max, lost
      if (rss == "") printf " %9s %6s %6s", "-", "-", "-"
      else printf " %9.2f %6.2f %6.1f", cpu, cores, rss / 1048576
      printf " %6.2f%s\n", own, (own >= 0.9 ? " (the load is the limit)" : "") }'
}
if [ -z "$server" ]; then
  clear_folder "$dir" "make bench"
  trap finish EXIT
  trap 'exit 130' INT TERM
  mkdir -p "$dir"
  cat > "$dir/node-1.toml" <<CONFIG
# A proxy of the bulletin system alone, written by scripts/bench-board.sh; configs/board/proxy.toml
# explains the keys.
[node]
id = 1
cluster = "bench-board"
console = false

[peers]

[[listeners]]
addr = "127.0.0.1:$port"

[[listeners]]
addr = "127.0.0.1:$((port + 4000))"
gateway = "nats"

[protocols.board]
role = "proxy"
CONFIG
  scripts/cluster.sh up "$dir"
  server=127.0.0.1:$((port + 4000))
  pid=$(cat "$dir/node-1.pid")
fi
printf '\n== pub/sub over NATS at %s: 1 publisher, 10 subscribers, 128-byte messages, console lines off\n' "$server"
printf '%6s %11s %12s %11s %9s %9s %9s %6s %9s %6s %6s %6s\n' "" "" "" "" "" "" "" "" \
  "server:" "" "" "load:"
printf '%6s %11s %12s %11s %9s %9s %9s %6s %9s %6s %6s %6s\n' window "not reading" deliveries/s published/s \
  "p50 us" "p99 us" "max us" lost "s/million" cores MiB cores
measure 1 0
measure 100 0
measure 1000 0
measure 100 1
