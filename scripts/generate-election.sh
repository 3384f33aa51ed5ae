#!/usr/bin/env bash
# Writes the configs of N nodes that elect a coordinator.
set -eu
. "$(dirname "$0")/lib.sh"
usage() {
  cat <<'USAGE'
usage: scripts/generate-election.sh [-n NODES] [-o DIR] [-p PORT] [-a ADDRESS] [-q]
                                    [-t ELECTION_TIMEOUT_MS] [-c HEALTH_CHECK_MS] [-C NODE] [-d]

Writes DIR/node-1.toml … DIR/node-N.toml. Node i listens for peers on PORT+i-1, for JSON lines on
PORT+2000+i-1.

  -n  how many nodes                                          (4)
  -o  where                                                   (run/election)
  -p  the first port                                          (10301)
  -a  the address of all nodes                                (127.0.0.1)
  -q  quiet: no console lines                                 (console = false)
  -t  how long to wait for an answer, milliseconds            (1000)
  -c  how often the coordinator is checked, milliseconds      (1000)
  -C  the only node that checks the coordinator: the one that is to find out that it is gone
  -d  durable: a node's clock, and so its epochs, go on above where they were when it is started
      again (data_dir)

Start them with scripts/cluster.sh up DIR.
USAGE
}
nodes=4 dir=run/election port=10301 address=127.0.0.1 console=true
cluster=election explained=configs/election/node-1.toml durable=false listeners="native:0 json:2000"
timeout=1000 check=1000 checker=""
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "n:o:p:a:qt:c:C:dh" option; do
  case $option in
    t) timeout=$OPTARG ;; c) check=$OPTARG ;; C) checker=$OPTARG ;; d) durable=true ;;
    h) usage; exit 0 ;;
    *) shared_option "$option" "${OPTARG:-}" || { usage >&2; exit 2; } ;;
  esac
done
shift $((OPTIND - 1))
no_more "$@"
need_numbers ELECTION_TIMEOUT_MS "$timeout" HEALTH_CHECK_MS "$check" NODE "${checker:-1}"
if [ "$timeout" -lt 1 ]; then
  echo "ELECTION_TIMEOUT_MS must be 1 or more" >&2
  exit 2
fi
if [ "${checker:-1}" -lt 1 ] || [ "${checker:-1}" -gt "$nodes" ]; then
  echo "NODE must be one of the nodes, 1 to $nodes" >&2
  exit 2
fi
protocols() {
  echo "[protocols.bully]"
  echo "election_timeout_ms = $timeout"
  if [ -z "$checker" ] || [ "$checker" = "$1" ]; then
    echo "health_check_ms = $check"
  else
    echo "health_check_ms = 0"
  fi
}
write_configs protocols
