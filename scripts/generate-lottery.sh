#!/usr/bin/env bash
# Writes the configs of a lottery: N agencies and their central.
set -eu
. "$(dirname "$0")/lib.sh"
usage() {
  cat <<'USAGE'
usage: scripts/generate-lottery.sh [-n AGENCIES] [-o DIR] [-p PORT] [-a ADDRESS] [-q]
                                   [-b BETS] [-c BETS_PER_CHUNK] [-t PERIOD_MS]

Writes DIR/node-1.toml … DIR/node-N.toml, the agencies, and DIR/node-(N+1).toml, their central. An agency
sends BETS/agency-i.csv, and ends when it has its winners. The central goes on; it listens for agencies
on PORT+N, for the document's own wire on PORT+1000+N, for JSON lines on PORT+2000+N. Agency i
listens on PORT+i-1, where the central asks whether it is the one that has connected.

  -n  how many agencies                                       (5)
  -o  where                                                   (run/lottery-nodes)
  -p  the first port                                          (10401)
  -a  the address of all nodes                                (127.0.0.1)
  -q  quiet: no console lines                                 (console = false)
  -b  the folder with the agencies' bets                      (DIR/bets)
  -c  how many bets are sent at a time, at most               (50)
  -t  how long to wait before asking for results again, milliseconds  (1000)

scripts/generate-bets.sh -n N -o DIR/bets writes bets. Start the nodes with scripts/cluster.sh up DIR, or
in containers with scripts/compose.sh DIR.
USAGE
}
nodes=5 dir=run/lottery-nodes port=10401 address=127.0.0.1 console=true
cluster=lottery explained=configs/lottery/ durable=true listeners="native:0 lottery-text:1000 json:2000"
bets="" chunk=50 period=1000
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "n:o:p:a:qb:c:t:h" option; do
  case $option in
    b) bets=$OPTARG ;; c) chunk=$OPTARG ;; t) period=$OPTARG ;;
    h) usage; exit 0 ;;
    *) shared_option "$option" "${OPTARG:-}" || { usage >&2; exit 2; } ;;
  esac
done
shift $((OPTIND - 1))
no_more "$@"
need_numbers AGENCIES "$nodes" BETS_PER_CHUNK "$chunk" PERIOD_MS "$period"
if [ "$nodes" -lt 1 ] || [ "$nodes" -gt 999 ]; then
  echo "AGENCIES must be 1 to 999" >&2
  exit 2
fi
agencies=$nodes bets=${bets:-$dir/bets}
nodes=$((agencies + 1))
hub=$nodes
name_of() { # ID
  if [ "$1" = "$hub" ]; then echo central; else echo "agency $1"; fi
}
protocols() {
  echo "[protocols.lottery]"
  if [ "$1" = "$hub" ]; then
    echo "agencies = $agencies"
  else
    echo "role = \"agency\""
    echo "agency = $1"
    echo "central = $hub"
    echo "bets = \"$bets/agency-$1.csv\""
    echo "bets_per_chunk = $chunk"
    echo "period_ms = $period"
  fi
}
write_configs protocols
