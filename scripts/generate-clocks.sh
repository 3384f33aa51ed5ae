#!/usr/bin/env bash
# Writes the configs of N nodes that call each other for random numbers.
set -eu
. "$(dirname "$0")/lib.sh"
usage() {
  cat <<'USAGE'
usage: scripts/generate-clocks.sh [-n NODES] [-o DIR] [-p PORT] [-a ADDRESS] [-q]
                                  [-i MIN,MAX] [-t TIMEOUT_MS] [-c CALLS] [-d]

Writes DIR/node-1.toml … DIR/node-N.toml. Node i listens for peers and `node clock` on PORT+i-1, for
JSON lines on PORT+2000+i-1.

  -n  how many nodes                              (4)
  -o  where                                       (run/clocks)
  -p  the first port                              (10201)
  -a  the address of all nodes                    (127.0.0.1)
  -q  quiet: no console lines                     (console = false)
  -i  how long to wait before a call, milliseconds (500,3000)
  -t  how long a call waits, milliseconds         (2000)
  -c  how many calls each node makes, 0 is no end (0)
  -d  durable: a node's clock goes on above where it was when the node is started again (data_dir)

Start them with scripts/cluster.sh up DIR.
USAGE
}
nodes=4 dir=run/clocks port=10201 address=127.0.0.1 console=true
cluster=clocks explained=configs/clocks/node-1.toml durable=false listeners="native:0 json:2000"
interval=500,3000 timeout=2000 calls=0
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "n:o:p:a:qi:t:c:dh" option; do
  case $option in
    i) interval=$OPTARG ;; t) timeout=$OPTARG ;; c) calls=$OPTARG ;; d) durable=true ;;
    h) usage; exit 0 ;;
    *) shared_option "$option" "${OPTARG:-}" || { usage >&2; exit 2; } ;;
  esac
done
shift $((OPTIND - 1))
no_more "$@"
need_numbers MIN "${interval%,*}" MAX "${interval#*,}" TIMEOUT_MS "$timeout" CALLS "$calls"
protocols() {
  echo "[protocols.lamport]"
  echo "interval_ms = [${interval%,*}, ${interval#*,}]"
  echo "timeout_ms = $timeout"
  echo "calls = $calls"
}
write_configs protocols
