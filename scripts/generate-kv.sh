#!/usr/bin/env bash
# Writes the configs of an N-node key-value store.
set -eu
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
nodes=3 dir=run/kv port=10097 address=127.0.0.1 leader=1 durability=memory timeout=5000 console=true
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "n:o:p:a:l:d:t:qh" option; do
  case $option in
    n) nodes=$OPTARG ;; o) dir=$OPTARG ;; p) port=$OPTARG ;; a) address=$OPTARG ;;
    l) leader=$OPTARG ;; d) durability=$OPTARG ;; t) timeout=$OPTARG ;; q) console=false ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
case "$nodes$port$leader$timeout" in
  *[!0-9]*) echo "NODES, PORT, LEADER and PUT_TIMEOUT_MS are numbers" >&2; exit 2 ;;
esac
if [ "$nodes" -lt 1 ] || [ "$nodes" -gt 1000 ]; then
  echo "NODES must be 1 to 1000: each group of listeners has 1000 ports" >&2
  exit 2
fi
if [ "$leader" -lt 1 ] || [ "$leader" -gt "$nodes" ]; then
  echo "LEADER must be one of the nodes, 1 to $nodes" >&2
  exit 2
fi
if [ $((port + 2000 + nodes)) -gt 65536 ]; then
  echo "PORT must leave room for $((2000 + nodes)) ports below 65536" >&2
  exit 2
fi
mkdir -p "$dir"
rm -f "$dir"/node-*.toml
for i in $(seq "$nodes"); do
  {
    echo "# Node $i of $nodes, written by scripts/generate-kv.sh; configs/kv-leader.toml explains the keys."
    echo "[node]"
    echo "id = $i"
    echo "cluster = \"kv\""
    echo "console = $console"
    echo "data_dir = \"$dir/data-$i\""
    echo
    echo "[peers]"
    for j in $(seq "$nodes"); do
      [ "$j" = "$i" ] || echo "$j = \"$address:$((port + j - 1))\""
    done
    for group in native:0 resp:1000 json:2000; do
      echo
      echo "[[listeners]]"
      echo "addr = \"$address:$((port + ${group#*:} + i - 1))\""
      echo "gateway = \"${group%:*}\""
    done
    echo
    echo "[protocols.kv_replication]"
    echo "leader = $leader"
    echo "durability = \"$durability\""
    echo "put_timeout_ms = $timeout"
  } > "$dir/node-$i.toml"
done
echo "wrote $nodes configs to $dir" >&2
