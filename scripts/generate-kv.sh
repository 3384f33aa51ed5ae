#!/usr/bin/env bash
# Writes the configs of an N-node key-value store.
set -eu
. "$(dirname "$0")/lib.sh"
usage() {
  cat <<'USAGE'
usage: scripts/generate-kv.sh [-n NODES] [-o DIR] [-p PORT] [-a ADDRESS] [-l LEADER]
                              [-d memory|disk] [-t PUT_TIMEOUT_MS] [-q]

Writes DIR/node-1.toml … DIR/node-N.toml. Node i listens for peers and `node kv` on PORT+i-1, for
Redis clients on PORT+1000+i-1, for JSON lines on PORT+2000+i-1.

  -n  how many nodes                     (3)
  -o  where                              (run/kv)
  -p  the first port                     (10097)
  -a  the address of all nodes           (127.0.0.1)
  -l  which node leads                   (1)
  -d  durability                         (memory)
  -t  how long a PUT waits, milliseconds (5000)
  -q  quiet: no console lines            (console = false)

Start them with scripts/cluster.sh up DIR.
USAGE
}
nodes=3 dir=run/kv port=10097 address=127.0.0.1 console=true
cluster=kv explained=configs/kv-leader.toml durable=true listeners="native:0 resp:1000 json:2000"
leader=1 durability=memory timeout=5000
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "n:o:p:a:ql:d:t:h" option; do
  case $option in
    l) leader=$OPTARG ;; d) durability=$OPTARG ;; t) timeout=$OPTARG ;;
    h) usage; exit 0 ;;
    *) shared_option "$option" "${OPTARG:-}" || { usage >&2; exit 2; } ;;
  esac
done
shift $((OPTIND - 1))
no_more "$@"
need_numbers NODES "$nodes" LEADER "$leader" PUT_TIMEOUT_MS "$timeout"
if [ "$leader" -lt 1 ] || [ "$leader" -gt "$nodes" ]; then
  echo "LEADER must be one of the nodes, 1 to $nodes" >&2
  exit 2
fi
protocols() {
  echo "[protocols.kv_replication]"
  echo "leader = $leader"
  echo "durability = \"$durability\""
  echo "put_timeout_ms = $timeout"
}
write_configs protocols
