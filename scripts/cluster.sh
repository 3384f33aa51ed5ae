#!/usr/bin/env bash
# Starts, stops, lists and tails the nodes of a folder of configs, as real processes.
set -eu
. "$(dirname "$0")/lib.sh"
usage() {
  cat <<'USAGE'
usage: scripts/cluster.sh up|down|status|tail DIR [NODE...]

  up      starts node-*.toml of DIR (or only the named nodes: 1 3 …) and waits until they listen; when
          one does not, those that were started are stopped again
  down    stops them (SIGTERM, then SIGKILL after 10 s) by their pid files
  status  lists them
  tail    shows their console lines, each behind [its node], until interrupted

Per node: DIR/node-N.pid, node-N.out (console lines), node-N.log (logs). NODE_LOG sets the log
level, NODE the binary; with NODE_TRACE=1 each node also writes its events to node-N.jsonl, for
`node explain`, and goes on with it whenever it is started again.
USAGE
}
case "${1:-}" in -h | --help) usage; exit 0 ;; esac
[ $# -ge 2 ] || { usage >&2; exit 2; }
command=$1 dir=$2
shift 2
[ -d "$dir" ] || { echo "no folder $dir: write configs first, with one of scripts/generate-*.sh -o $dir" >&2; exit 1; }

names() {
  if [ $# -gt 0 ]; then
    for n in "$@"; do echo "node-$n"; done
  else
    for file in "$dir"/node-*.toml; do
      [ -e "$file" ] && basename "$file" .toml
    done | sort -t- -k2 -n
  fi
}

listens() { # NAME: every listener of its config is up
  local want have
  want=$(grep -c '^\[\[listeners\]\]' "$dir/$1.toml")
  have=$(grep -c ' listens on ' "$dir/$1.log" || true)
  [ "$have" -ge "$want" ] || ! is_running "$dir/$1.pid"
}

# give_up NAME NODE...: tells why NAME did not start, stops what was started and ends the script.
give_up() {
  local name=$1 others=""
  shift
  [ $# -le 1 ] || others="; the others that were started are stopped again"
  echo "$name did not start: $(tail -n 1 "$dir/$name.log")$others" >&2
  down "$@"
  exit 1
}

up() {
  local binary name trace started=""
  binary=$(node_binary)
  for name in $(names "$@"); do
    [ -e "$dir/$name.toml" ] || { echo "no config $dir/$name.toml" >&2; exit 1; }
  done
  for name in $(names "$@"); do
    if is_running "$dir/$name.pid"; then
      echo "$name runs already" >&2
      continue
    fi
    : > "$dir/$name.log"
    # A trace that was begun goes on, or it would look as if the node were gone.
    trace=""
    if [ -n "${NODE_TRACE:-}" ] || [ -e "$dir/$name.jsonl" ]; then trace=1; fi
    "$binary" --config "$dir/$name.toml" ${trace:+--trace "$dir/$name.jsonl"} --log-level "${NODE_LOG:-info}" \
      < /dev/null >> "$dir/$name.out" 2>> "$dir/$name.log" &
    echo $! > "$dir/$name.pid"
    started="$started $name"
  done
  for name in $started; do
    # Below info the log does not say that it listens; then only the process is waited for.
    case "${NODE_LOG:-info}" in
      info | debug | trace)
        # shellcheck disable=SC2086
        wait_for 90 "$name listens" listens "$name" || give_up "$name" ${started//node-/}
        ;;
    esac
    if ! is_running "$dir/$name.pid"; then
      # A node whose work is done ends by itself.
      if wait "$(cat "$dir/$name.pid")"; then
        echo "$name has ended: its work is done" >&2
        continue
      fi
      # shellcheck disable=SC2086
      give_up "$name" ${started//node-/}
    fi
  done
}

stopped() { ! is_running "$dir/$1.pid"; }

down() {
  local name
  for name in $(names "$@"); do
    # A stopped process takes the signal only when it goes on.
    if is_running "$dir/$name.pid"; then
      kill -TERM "$(cat "$dir/$name.pid")" && kill -CONT "$(cat "$dir/$name.pid")"
    fi 2>/dev/null || true
  done
  for name in $(names "$@"); do
    if ! wait_for 10 "$name stops" stopped "$name"; then
      kill -KILL "$(cat "$dir/$name.pid")" 2>/dev/null || true
    fi
    rm -f "$dir/$name.pid"
  done
}

status() {
  local name pid addr
  for name in $(names "$@"); do
    addr=$(sed -n 's/^addr = "\(.*\)"/\1/p' "$dir/$name.toml" | tr '\n' ' ')
    if is_running "$dir/$name.pid"; then
      pid=$(cat "$dir/$name.pid")
      printf '%-10s running  pid %-8s %s\n' "$name" "$pid" "$addr"
    else
      printf '%-10s stopped  %-12s %s\n' "$name" "" "$addr"
    fi
  done
}

follow() {
  local name
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  trap 'exit 0' INT TERM
  for name in $(names "$@"); do
    touch "$dir/$name.out"
    tail -n 10 -F "$dir/$name.out" 2>/dev/null | sed -u "s/^/[${name#node-}] /" &
  done
  wait
}

case $command in
  up) up "$@" ;;
  down) down "$@" ;;
  status) status "$@" ;;
  tail) follow "$@" ;;
  *) usage >&2; exit 2 ;;
esac
