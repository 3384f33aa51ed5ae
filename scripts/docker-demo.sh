#!/usr/bin/env bash
# Runs a scenario in containers, unattended: starts the nodes, breaks one, judges what they do, and
# removes containers, volumes and network again, also when something did not hold.
set -eu
# What a node prints when it becomes the coordinator.
COORDINATOR_LINE='I am the coordinator'
usage() {
  cat <<'USAGE'
usage: scripts/docker-demo.sh [-i IMAGE] [-o DIR] SCENARIO NODES

  kv        the store with its logs in volumes: a node is killed while a PUT waits for it, starts again
            and catches up; then all containers are replaced, and the data is still there
  election  a coordinator is elected, killed, and another one takes over
  lottery   NODES agencies send generated bets to a central, which draws; the right ones have won
  board     the bulletin system with NODES servers and two bots: the clocks come together, and a client's
            messages are published before and after the coordinator is killed
  echo      the echo server is asked with netcat, from inside its network, while it is there and after

  -i  the image, see scripts/docker-image.sh   (node:latest)
  -o  where configs and compose file go        (run/docker-SCENARIO)

The ports on this machine are the engine's choice. The exit code is 0 when everything held.
USAGE
}
image=node:latest dir=""
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "i:o:h" option; do
  case $option in
    i) image=$OPTARG ;; o) dir=$OPTARG ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 2 ] || { usage >&2; exit 2; }
scenario=$1 nodes=$2
case $nodes in '' | *[!0-9]*) echo "NODES is a number" >&2; exit 2 ;; esac
case $scenario in
  kv | election)
    [ "$nodes" -ge 2 ] || { echo "NODES must be 2 or more: one is taken down" >&2; exit 2; }
    ;;
  board) [ "$nodes" -ge 2 ] || { echo "NODES must be 2 or more: one is taken down" >&2; exit 2; } ;;
  lottery) [ "$nodes" -ge 1 ] || { echo "NODES must be 1 or more" >&2; exit 2; } ;;
  echo) [ "$nodes" -eq 1 ] || { echo "NODES must be 1: there is one server" >&2; exit 2; } ;;
  *) usage >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
. scripts/lib.sh
dir=${dir:-run/docker-$scenario}
binary=$(node_binary)
need_engine
docker image inspect "$image" >/dev/null 2>&1 ||
  { echo "no image $image: run make docker-image" >&2; exit 1; }

# A cold machine with many containers is slow; only a failure waits this long.
LONG=120
say() { printf '\n== %s\n' "$*"; }
fail() { echo "docker-demo: $*" >&2; exit 1; }
project() { compose -f "$dir/docker/docker-compose.yml" "$@"; }
container() { project ps -a -q "node-$1"; }          # NODE: its container, running or not
console() { docker logs "$(container "$1")" 2>/dev/null; } # NODE: what it printed
# server NODE: where its native listener is on this machine now; the port changes with every start
server() {
  local port
  port=$(sed -n 's/^addr = ".*:\([0-9]*\)"$/\1/p' "$dir/docker/node-$1.toml" | head -n 1)
  project port "node-$1" "$port"
}
remove() { project down -v --remove-orphans -t 1; }

# begin COMMAND...: writes the configs, removes what an earlier run left, and starts all nodes.
begin() {
  [ ! -e "$dir/docker/docker-compose.yml" ] || remove 2>/dev/null || true
  rm -rf "$dir"
  "$@" -n "$nodes" -o "$dir"
  scripts/compose.sh -P -i "$image" "$dir"
  finish() {
    code=$?
    [ "$code" -eq 0 ] || project logs --no-color --tail 20 >&2 || true
    remove || code=1
    exit $code
  }
  trap finish EXIT
  trap 'exit 130' INT TERM
  say "the containers start"
  project up -d
}

# started NODE TIMES: whether the node has come to listen that often. One that is told to stop before
# that does not hear it.
started() {
  [ "$(docker logs "$(container "$1")" 2>&1 | grep -c ' listens on .*(native)')" -ge "$2" ]
}

# all_stopped_well: whether every node ended by itself, with 0, when it was told to stop
all_stopped_well() {
  local id code
  for id in $(seq "$nodes"); do
    code=$(docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$(container "$id")")
    [ "$code" = "exited 0" ] || fail "node $id should have stopped with 0, but: $code"
  done
}

has_ended() { [ "$(docker inspect -f '{{.State.Status}}' "$(container "$1")")" = exited ]; }
complete_or_ended() { is_complete "$(server "$1")" || has_ended "$1"; }
all_complete() {
  local id
  for id in $(seq "$nodes"); do
    wait_for $LONG "node $id is complete" complete_or_ended "$id"
    ! has_ended "$id" || fail "node $id has ended"
  done
}
client() { # NODE COMMAND...: one request of the store's client
  local to
  to=$(server "$1")
  shift
  "$binary" kv --servers "$to" --timeout-ms 60000 "$@"
}
expect() { # NODE VALUE: of the key k
  client "$1" get k | tee "$dir/got"
  grep -q "value: $2 " "$dir/got" || fail "expected $2 at node $1"
}

kv() {
  local start=$SECONDS put
  begin scripts/generate-kv.sh -d disk -t 60000
  all_complete
  echo "all $nodes are complete, $((SECONDS - start)) s after the start"

  say "PUT k v1 at node 2, GET at node $nodes"
  client 2 put k v1
  expect "$nodes" v1

  say "node $nodes is killed; PUT k v2 waits for it"
  project kill -s KILL "node-$nodes"
  client 1 put k v2 > "$dir/put" 2>&1 &
  put=$!
  has_v2() { client 1 --json info | grep -q '"applied":2,'; }
  wait_for $LONG "the leader has v2" has_v2
  kill -0 "$put" 2>/dev/null || fail "the PUT did not wait: $(cat "$dir/put")"

  say "node $nodes starts again, and catches up"
  project start "node-$nodes"
  wait "$put" || fail "the PUT failed: $(cat "$dir/put")"
  cat "$dir/put"
  expect "$nodes" v2

  say "all containers are told to stop, and replaced: the data is in the volumes"
  project stop
  all_stopped_well
  project down
  project up -d
  all_complete
  expect "$nodes" v2
  say "done: nothing was lost"
}

# coordinator EXCEPT: the node that printed that it is the coordinator, other than EXCEPT
coordinator() {
  local id
  for id in $(seq "$nodes"); do
    ! has_ended "$id" || [ "$id" = "$1" ] || fail "node $id has ended: $(docker logs "$(container "$id")" 2>&1 | tail -n 1)"
    if [ "$id" != "$1" ] && console "$id" | grep -q "$COORDINATOR_LINE"; then echo "$id"; return; fi
  done
  return 1
}

election() {
  local first second id
  begin scripts/generate-election.sh
  wait_for $LONG "a node becomes the coordinator" coordinator none
  first=$(coordinator none)
  say "node $first is the coordinator; it is killed"
  project kill -s KILL "node-$first"
  wait_for $LONG "another node becomes the coordinator" coordinator "$first"
  second=$(coordinator "$first")
  say "node $second is the coordinator; node $first starts again"
  project start "node-$first"
  is_back() { [ "$(console "$first" | grep -c "$COORDINATOR_LINE")" -ge 2 ] || has_ended "$first"; }
  wait_for $LONG "node $first becomes the coordinator again" is_back
  ! has_ended "$first" || fail "node $first has ended"
  for id in $(seq "$nodes"); do console "$id" | sed "s/^/[$id] /"; done
  project stop
  all_stopped_well
  say "done: node $second took over from node $first, and gave way when it was back"
}

# What write_lottery and write_echo are given is what generators take: -n NODES -o DIR.
write_lottery() {
  scripts/generate-bets.sh -n "$nodes" -b 1000 -o "$dir/bets"
  scripts/generate-lottery.sh -t 200 "$@"
}

lottery() {
  local id central agencies=$nodes sent=0 stored draws
  begin write_lottery
  # It has an exit code too.
  nodes=$((agencies + 1)) central=$((agencies + 1))
  for id in $(seq "$agencies"); do wait_for $LONG "agency $id ends" has_ended "$id"; done
  project stop
  all_stopped_well

  say "the winners, by agency"
  for id in $(seq "$agencies"); do console "$id" | winners "$id"; done | tee "$dir/winners.txt"

  say "the verdict"
  console "$central" | grep 'action: sorteo'
  for id in $(seq "$agencies"); do sent=$((sent + $(rows "$dir/bets/agency-$id.csv"))); done
  docker cp "$(container "$central"):/data/bets.csv" "$dir/bets.csv"
  stored=$(rows "$dir/bets.csv")
  [ "$stored" -eq "$sent" ] || fail "$sent bets were sent, and bets.csv has $stored"
  draws=$(console "$central" | grep -c 'action: sorteo | result: success' || true)
  [ "$draws" -eq 1 ] || fail "there were $draws draws"
  diff "$dir/bets/winners.txt" "$dir/winners.txt" >&2 || fail "these (<) should have won, and these (>) did"
  say "done: $stored bets were stored once, and the right ones won"
}

# skew SERVER...: how far the clocks of these servers are apart, as JSON
skew() {
  local addrs="" id
  for id in "$@"; do addrs="$addrs,$(server "$id")"; done
  "$binary" skew --json --nodes "${addrs#,}"
}
# coordinator_of SERVER...: the one that all of these hold coordinator, if it is one of them
coordinator_of() {
  local held
  # It fails unless all of them answer.
  held=$(skew "$@") || return 1
  held=$(echo "$held" | grep -o '"coordinator":[0-9a-z]*' | sort -u)
  [ "$(echo "$held" | wc -l)" -eq 1 ] && printf '%s\n' "$@" | grep -x "${held##*:}"
}

board() {
  local servers=$nodes first others said together
  begin scripts/generate-board.sh
  # Two bots, broker, proxy and reference server come after the servers.
  nodes=$((servers + 5))
  # shellcheck disable=SC2046
  wait_for $LONG "the servers agree on a coordinator" coordinator_of $(seq "$servers")
  are_together() { together=$(skew $(seq "$servers")) && echo "$together" | grep -q '"largest_ms":[0-4]\.'; }
  wait_for $LONG "the clocks are within 5 ms" are_together
  say "the clocks, after $SECONDS s"
  skew $(seq "$servers")
  talk() {
    "$binary" board --user demo --auto --count 20 --interval-ms 20 \
      --broker "$(server $((servers + 3)))" --proxy "$(server $((servers + 4)))" | tee "$dir/said" | tail -n 4
    said=$(grep -c ' published message ' "$dir/said")
    [ "$said" -eq 20 ] || fail "$said of 20 messages were published"
  }
  talk
  first=$(coordinator_of $(seq "$servers"))
  say "server $first coordinates; it is killed"
  project kill -s KILL "node-$first"
  others=$(seq "$servers" | grep -vx "$first")
  # shellcheck disable=SC2086
  wait_for $LONG "the others agree on another" coordinator_of $others
  say "server $(coordinator_of $others) coordinates"
  talk
  project start "node-$first"
  wait_for $LONG "node $first listens again" started "$first" 2
  project stop
  all_stopped_well
  say "done: 40 messages were published, and the coordinator was replaced"
}

write_echo() {
  mkdir -p "$dir"
  cp configs/echo.toml "$dir/node-1.toml"
}

echo_server() {
  begin write_echo
  answers() { scripts/sv-test.sh "$dir"; }
  wait_for $LONG "the server answers" answers
  answers
  say "the server is told to stop, and asked again"
  project stop
  all_stopped_well
  ! answers || fail "somebody answers in its place"
  say "done: the server answered while it was there"
}

case $scenario in
  echo) echo_server ;;
  *) $scenario ;;
esac
