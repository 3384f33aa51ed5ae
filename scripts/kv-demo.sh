#!/usr/bin/env bash
# Shows, unattended, a GET that is answered and one that is refused (document 003, section 9, III).
#
# The refusal is provoked by nothing but ordinary failures: server 3 is down while k is PUT again,
# so the PUT waits for it; the client reads the new value at the leader; server 3 comes back, while
# the leader is stopped, and so still has the old one.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
dir=run/kv-demo
leader=127.0.0.1:10097 third=127.0.0.1:10099
session=$dir/session.json
# The servers' lines of the step before come through a pipe: leave them the time to be first.
say() { sleep 0.3; printf '\n== %s\n' "$*"; }
fail() { echo "kv-demo: $*" >&2; exit 1; }
# client SERVER COMMAND...: one request of the one client whose session this demo follows
client() { local server=$1; shift; "$binary" kv --servers "$server" --session "$session" "$@"; }

clear_folder "$dir" "make kv-demo"
scripts/generate-kv.sh -o "$dir" -d disk -t 20000
tailer=""
finish() {
  code=$?
  [ -z "$tailer" ] || kill "$tailer" 2>/dev/null || true
  scripts/cluster.sh down "$dir"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

say "three servers start; 1 leads"
scripts/cluster.sh up "$dir"
scripts/cluster.sh tail "$dir" &
tailer=$!
for port in 10097 10098 10099; do wait_for 10 "server 127.0.0.1:$port is complete" is_complete "127.0.0.1:$port"; done

say "PUT k v1 at server 2, a follower: it passes it on to the leader"
client 127.0.0.1:10098 put k v1
say "GET k at server 3: the ordinary case"
client $third get k | tee "$dir/normal"
grep -q 'value: v1 ' "$dir/normal" || fail "expected v1"

say "server 3 goes down; PUT k v2 at the leader waits for it"
scripts/cluster.sh down "$dir" 3
"$binary" kv --servers $leader --timeout-ms 30000 put k v2 > "$dir/put" 2>&1 &
put=$!
has_v2() { "$binary" kv --servers $leader --json info | grep -q '"applied":2,'; }
wait_for 10 "the leader has v2" has_v2
say "GET k at the leader: the client sees v2, with timestamp 2"
client $leader get k

say "the leader is held up, server 3 comes back: it still has v1, from its disk"
kill -STOP "$(cat "$dir/node-1.pid")"
scripts/cluster.sh up "$dir" 3
say "GET k at server 3, by the client that has seen timestamp 2: refused, it never goes back"
code=0
client $third get k > "$dir/refused" || code=$?
cat "$dir/refused"
grep -q TRY_OTHER_SERVER_OR_LATER "$dir/refused" || fail "expected TRY_OTHER_SERVER_OR_LATER"
[ "$code" -eq 2 ] || fail "expected exit code 2, got $code"

say "the leader goes on: server 3 catches up, and the PUT that waited is answered"
kill -CONT "$(cat "$dir/node-1.pid")"
wait "$put" || fail "the PUT failed: $(cat "$dir/put")"
cat "$dir/put"
say "GET k at server 3 again: later is answered"
client $third get k | tee "$dir/later"
grep -q 'value: v2 ' "$dir/later" || fail "expected v2"
say "done: a GET was answered, one was refused, none went back"
