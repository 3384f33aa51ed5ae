#!/usr/bin/env bash
# Shows, unattended, the bulletin system: clocks that begin seconds apart and come together, a coordinator
# that is killed under traffic and replaced, a clock that comes back wrong, and a dead server that leaves
# the reference server's list. Ends within about a minute; the exit code says whether all held.
set -eu
case "${1:-}" in
  "") ;;
  *) echo "usage: scripts/board-demo.sh" >&2; [ "$1" = -h ] || [ "$1" = --help ] || exit 2; exit 0 ;;
esac
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
dir=run/board-demo
# Ports of its own: `make board` may run beside it.
port=10601 address=127.0.0.1
broker=$address:$port proxy=$address:$((port + 1)) reference=$((port + 2002))
server() { echo "$address:$((port + 2 + $1))"; }
# The document has 30 s and a heartbeat every 5 s: too long to watch.
listed=6000 beat=1000
messages=200 interval=50
# The clocks are 4 s apart and approach each other by half a second in a second.
LONG=30
say() { printf '\n== %s\n' "$*"; }
failed=0
summary=""
# verdict WHAT VALUE HELD: a row of the table at the end.
verdict() {
  local word=held
  [ "$3" = true ] || { word=FAILED; failed=1; }
  summary="$summary$(printf '%-62s %-22s %s' "$1" "$2" "$word")
"
}
fail() { verdict "$1" "" false; show_summary; exit 1; }
show_summary() { say "summary"; printf '%s' "$summary"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
is_below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }'; }

# skew SERVER...: the largest skew between their clocks, in milliseconds.
skew() {
  local nodes="" id read
  for id in "$@"; do nodes="$nodes,$(server "$id")"; done
  # It fails unless all of them answer.
  read=$("$binary" skew --nodes "${nodes#,}" --json --timeout-ms 2000) || return 1
  echo "$read" | sed -n 's/.*"largest_ms":\([0-9.]*\).*/\1/p'
}

# shrink SERVER...: prints the skew each second until it is under a millisecond; sets first and last.
shrink() {
  local begin value end
  begin=$(now_ms) first="" last="" took=""
  end=$((SECONDS + LONG))
  echo "      s    skew, ms   (bars: a tenth of a decade each, from 0.1 ms)"
  while [ "$SECONDS" -lt "$end" ]; do
    value=$(skew "$@") || value=""
    if [ -n "$value" ]; then
      took=$(($(now_ms) - begin))
      first=${first:-$value} last=$value
      awk -v ms="$took" -v skew="$value" 'BEGIN {
        n = skew > 0.1 ? int(10 * log(skew / 0.1) / log(10)) : 0
        bar = ""; while (n-- > 0) bar = bar "#"
        printf "  %5.1f %11.3f   %s\n", ms / 1000, skew, bar }'
      if is_below "$value" 1; then return; fi
    fi
    sleep 1
  done
}

# ask LINE: one answer of the reference server's JSON listener.
ask() {
  local answer
  exec 3<>"/dev/tcp/$address/$reference"
  echo "$1" >&3
  IFS= read -r -t 5 answer <&3
  exec 3>&-
  echo "$answer"
}
list() { ask '{"service":"list","data":{"timestamp":0,"clock":0}}'; }
is_listed() { list | grep -q "\"name\":\"server$1\""; }
is_unlisted() { ! is_listed "$1"; }
coordinator() {
  "$binary" skew --readings 1 --timeout-ms 2000 --nodes "$(server "$1")" --json |
    sed -n 's/.*"coordinator":\([0-9]*\).*/\1/p'
}
# other_than SERVER: the two others.
other_than() { seq 3 | grep -vx "$1"; }

clear_folder "$dir" "make board-demo"
scripts/generate-board.sh -o "$dir" -p $port -a $address -T $listed
client=""
finish() {
  code=$?
  [ -z "$client" ] || kill "$client" 2>/dev/null || true
  scripts/cluster.sh down "$dir"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

say "three servers whose clocks are 4 s apart, two bots, broker, proxy and reference server start"
scripts/cluster.sh up "$dir"
shrink 1 2 3
wait_for $LONG "the servers agree on a coordinator" servers_agree "$(server 1)" "$(server 2)" "$(server 3)" ||
  fail "the servers agree on a coordinator"
if [ -n "$last" ] && is_below "$last" 1; then held=true; else held=false; fi
verdict "clocks that began $first ms apart come within 1 ms" "$last ms, $((took / 1000)) s" $held

old=$(coordinator 1)
say "server $old coordinates; the reference server's list:"
list

say "a client sends a message every $interval ms, and server $old is killed under it"
said=$dir/client.jsonl
"$binary" board --broker "$broker" --proxy "$proxy" --user demo --auto --interval-ms $interval \
  --count $messages --json > "$said" 2> "$dir/client.log" &
client=$!
published() { [ "$(grep -c '"event":"sent"' "$said")" -ge "$1" ]; }
wait_for $LONG "the first messages are published" published 20 || fail "messages are published"
begin=$(now_ms)
kill -KILL "$(cat "$dir/node-$old.pid")"
announced() { grep -q "\"topic\":\"servers\"" "$said"; }
if wait_for $LONG "a new coordinator is announced" announced; then
  took=$(($(now_ms) - begin))
  grep -m 1 '"topic":"servers"' "$said" | sed 's/.*"text":"\(.*\)","timestamp".*/  under the topic servers: \1/; s/\\"/"/g'
  echo "  $took ms after the kill: up to 1 s to the next health check, 2 s for its answer, 2 s for an Ok"
  verdict "a new coordinator is announced after the kill" "$took ms" true
else
  verdict "a new coordinator is announced after the kill" "not within $LONG s" false
fi
# A health check, two election timeouts, and the rest of the messages.
ended() { ! kill -0 "$client" 2>/dev/null; }
if wait_for $LONG "the client ends" ended; then held=true; else held=false; fi
client=""
sent=$(grep -c '"event":"sent"' "$said" || true)
unsure=$(grep -c '"event":"not_sent"' "$said" || true)
[ $((sent + unsure)) = $messages ] || held=false
verdict "each of $messages messages is answered or an error is told" "$sent and $unsure" $held
# Text "message N of demo": N only grows, and each that was published came.
heard=$(sed -n 's/.*"event":"message".*"text":"message \([0-9]*\) of demo".*/\1/p' "$said")
if [ "$(printf '%s\n' "$heard" | sort -nu)" = "$heard" ] &&
  [ "$(printf '%s\n' "$heard" | wc -l)" -ge "$sent" ]; then held=true; else held=false; fi
verdict "what was published comes to the client, in order, once" "$(printf '%s\n' "$heard" | wc -l) heard" $held

say "server $old comes back, with its clock another second back, and takes over; they meet at the average"
awk '/^clock_offset_ms/ { $3 -= 1000 } { print }' "$dir/node-$old.toml" > "$dir/changed"
mv "$dir/changed" "$dir/node-$old.toml"
scripts/cluster.sh up "$dir" "$old"
shrink 1 2 3
if [ -n "$last" ] && is_below "$last" 1; then held=true; else held=false; fi
verdict "its clock, $first ms off, comes within 1 ms of the others'" "$last ms, $((took / 1000)) s" $held
wait_for $LONG "server $old is listed again" is_listed "$old" || fail "who comes back is listed again"

dead=$(other_than "$old" | head -n 1)
say "server $dead is killed: off the list after $((listed / 1000)) s without a heartbeat (the document: 30 s)"
begin=$(now_ms)
kill -KILL "$(cat "$dir/node-$dead.pid")"
if wait_for $LONG "server $dead is off the list" is_unlisted "$dead"; then
  took=$(($(now_ms) - begin))
  list
  # A process that polls is a little late itself.
  if [ $took -ge $((listed - beat - 100)) ] && [ $took -le $((listed + 1000)) ]; then held=true; else held=false; fi
  verdict "a dead server leaves the list within $((listed - beat)) to $listed ms" "$took ms" $held
else
  verdict "a dead server leaves the list" "not within $LONG s" false
fi

show_summary
if [ $failed = 0 ]; then
  say "done: all held"
else
  say "something did not hold: see $dir"
fi
exit $failed
