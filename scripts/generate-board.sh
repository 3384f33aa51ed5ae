#!/usr/bin/env bash
# Writes the configs of the bulletin system: servers, bots, a broker, a proxy and a reference server.
set -eu
. "$(dirname "$0")/lib.sh"
usage() {
  cat <<'USAGE'
usage: scripts/generate-board.sh [-n SERVERS] [-b BOTS] [-o DIR] [-p PORT] [-a ADDRESS] [-q]
                                 [-t ELECTION_TIMEOUT_MS] [-T LIST_TIMEOUT_MS] [-s SKEW_MS]

Writes DIR/node-1.toml … DIR/node-N.toml: first the servers, then the bots, then the broker, the proxy
and the reference server, which thus are dialled. They listen on
  broker             PORT      JSON lines on PORT+2000
  proxy              PORT+1    JSON lines on PORT+2001, NATS on PORT+4001
  reference server   PORT+2    JSON lines on PORT+2002
  server or bot i    PORT+2+i

  -n  how many servers                                            (3)
  -b  how many bots                                               (2)
  -o  where                                                       (run/board)
  -p  the first port                                              (10501)
  -a  the address of all nodes                                    (127.0.0.1)
  -q  quiet: no console lines                                     (console = false)
  -t  how long an election waits for an answer, milliseconds      (2000)
  -T  a server that is not heard from for so long is off the list, milliseconds; a heartbeat comes six
      times as often                                              (30000)
  -s  how far the clocks of the first and the last server are apart, milliseconds; their drifts differ
      by 400 ppm                                                  (4000)

Start them with scripts/cluster.sh up DIR, or in containers with scripts/compose.sh DIR.
USAGE
}
nodes=3 dir=run/board port=10501 address=127.0.0.1 console=true
cluster=board explained=configs/board/ durable=false listeners="native:0 json:2000 nats:4000"
bots=2 timeout=2000 listed=30000 skew=4000
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "n:o:p:a:qb:t:T:s:h" option; do
  case $option in
    b) bots=$OPTARG ;; t) timeout=$OPTARG ;; T) listed=$OPTARG ;; s) skew=$OPTARG ;;
    h) usage; exit 0 ;;
    *) shared_option "$option" "${OPTARG:-}" || { usage >&2; exit 2; } ;;
  esac
done
shift $((OPTIND - 1))
no_more "$@"
need_numbers SERVERS "$nodes" BOTS "$bots" ELECTION_TIMEOUT_MS "$timeout" LIST_TIMEOUT_MS "$listed" SKEW_MS "$skew"
servers=$nodes
if [ "$servers" -lt 1 ] || [ $((servers + bots)) -gt 997 ]; then
  echo "SERVERS must be 1 or more, and SERVERS and BOTS 997 at most together" >&2
  exit 2
fi
if [ "$timeout" -lt 1 ] || [ "$listed" -lt 6 ]; then
  echo "ELECTION_TIMEOUT_MS must be 1 or more, LIST_TIMEOUT_MS 6 or more" >&2
  exit 2
fi
broker=$((servers + bots + 1)) proxy=$((servers + bots + 2)) reference=$((servers + bots + 3))
nodes=$reference
ids=$(seq -s ', ' "$servers")

# addr ID [MORE]: where that node listens for peers.
addr() {
  local at
  case $1 in
    "$broker") at=0 ;; "$proxy") at=1 ;; "$reference") at=2 ;;
    *) at=$((2 + $1)) ;;
  esac
  echo "$address:$((port + at + ${2:-0}))"
}

role() { # ID
  if [ "$1" -le "$servers" ]; then echo server; elif [ "$1" -lt "$broker" ]; then echo bot
  elif [ "$1" = "$broker" ]; then echo broker; elif [ "$1" = "$proxy" ]; then echo proxy
  else echo reference; fi
}

name_of() { # ID
  case $(role "$1") in
    server) echo "server $1" ;;
    bot) echo "bot $(($1 - servers))" ;;
    *) role "$1" ;;
  esac
}

listener() { # ID GATEWAY MORE
  echo
  echo "[[listeners]]"
  echo "addr = \"$(addr "$1" "$3")\""
  echo "gateway = \"$2\""
}

# Who knows whom and who listens goes by the role here, unlike in lib.sh.
node_tables() {
  local role peers peer
  role=$(role "$1")
  echo "# Node $1 of $nodes, the bulletin system's $role, written by scripts/$(basename "$0"); $explained explains the keys."
  echo "[node]"
  echo "id = $1"
  echo "name = \"$(name_of "$1")\""
  echo "cluster = \"$cluster\""
  echo "console = $console"
  case $role in
    reference) echo "data_dir = \"$dir/data-$1\"" ;;
    server)
      # From one end to the other, in equal steps.
      if [ "$servers" -gt 1 ]; then
        echo "clock_offset_ms = $((skew * ($1 - 1) / (servers - 1) - skew / 2))"
        echo "clock_drift_ppm = $((200 - 400 * ($1 - 1) / (servers - 1)))"
      fi
      ;;
  esac
  case $role in
    server) peers="$(seq "$servers") $broker $proxy $reference" ;;
    bot) peers="$broker $proxy" ;;
    broker | proxy) peers=$(seq $((servers + bots))) ;;
    reference) peers=$(seq "$servers") ;;
  esac
  echo
  echo "[peers]"
  for peer in $peers; do
    [ "$peer" = "$1" ] || echo "$peer = \"$(addr "$peer")\""
  done
  listener "$1" native 0
  case $role in
    broker | reference) listener "$1" json 2000 ;;
    proxy) listener "$1" json 2000; listener "$1" nats 4000 ;;
  esac
  echo
}

protocols() {
  local role
  role=$(role "$1")
  case $role in
    reference)
      echo "[protocols.membership]"
      echo "role = \"reference\""
      echo "heartbeat_ms = $((listed / 6))"
      echo "timeout_ms = $listed"
      return
      ;;
    server)
      echo "[protocols.membership]"
      echo "role = \"member\""
      echo "name = \"server$1\""
      echo "reference = $reference"
      echo "heartbeat_ms = $((listed / 6))"
      echo "timeout_ms = $listed"
      echo
      echo "[protocols.bully]"
      echo "by = \"rank\""
      echo "election_timeout_ms = $timeout"
      echo
      # One clock is kept with no other.
      if [ "$servers" -gt 1 ]; then
        echo "[protocols.berkeley]"
        echo "servers = [$ids]"
        # Clocks that are further apart are not averaged with each other, only corrected.
        echo "gamma_ms = 5000"
        echo "slew_ppm = 500000"
        echo
      fi
      ;;
  esac
  echo "[protocols.board]"
  echo "role = \"$role\""
  case $role in
    server) echo "name = \"server$1\""; echo "proxy = $proxy" ;;
    bot)
      echo "name = \"bot$(($1 - servers))\""
      echo "broker = $broker"
      echo "proxy = $proxy"
      echo "texts = [\"hello\", \"is anybody there?\", \"what time is it?\"]"
      echo "interval_ms = $((2000 + 500 * ($1 - servers - 1)))"
      ;;
    broker) echo "servers = [$ids]" ;;
  esac
}
write_configs protocols
