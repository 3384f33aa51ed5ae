#!/usr/bin/env bash
# Whether the echo server in a container sends back what it gets, asked with netcat from another
# container of its network: exercise 3 of document 001, whose name this script has.
set -eu
usage() {
  cat <<'USAGE'
usage: scripts/sv-test.sh DIR

DIR is a folder of configs for which scripts/compose.sh has written a compose file, whose containers run;
one of the configs has a listener with the gateway echo. Prints
  action: test_echo_server | result: success
or
  action: test_echo_server | result: fail
and the exit code is 0 or 1; 2 when it could not ask.

netcat is that of a statically linked busybox: BUSYBOX, or else the one that is installed. An image of it is
built without any other, and removed again.
USAGE
}
case "${1:-}" in -h | --help) usage; exit 0 ;; esac
[ $# -eq 1 ] || { usage >&2; exit 2; }
dir=$(cd "$1" 2>/dev/null && pwd) || { echo "no folder $1" >&2; exit 2; }
cd "$(dirname "$0")/.."
. scripts/lib.sh
fail() { echo "sv-test: $*" >&2; exit 2; }
file=$dir/docker/docker-compose.yml
[ -f "$file" ] || fail "no $file: write it with scripts/compose.sh, and start it"
busybox=${BUSYBOX:-$(command -v busybox || true)}
[ -n "$busybox" ] && [ -x "$busybox" ] ||
  fail "busybox is not there: install the package busybox-static (apt-get install busybox-static), or set BUSYBOX to a static one"
need_engine

# Where the echo server listens in its network: the node, and its port.
for config in "$dir"/docker/node-*.toml; do
  port=$(awk '/^addr = / { addr = $0 } /^gateway = "echo"/ { sub(/.*:/, "", addr); sub(/".*/, "", addr); print addr; exit }' "$config")
  if [ -n "$port" ]; then node=$(basename "$config" .toml); break; fi
done
[ -n "$port" ] || fail "no config in $dir/docker has a listener with the gateway echo"
address=$(awk -v node="  $node:" '$0 == node { here = 1 } here && /ipv4_address:/ { print $2; exit }' "$file")
container=$(compose -f "$file" ps -a -q "$node")
[ -n "$container" ] || fail "$node has no container: start it with docker-compose -f $file up -d"
network=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$container")

image=netcat-tester:$$ tester=netcat-tester-$$ context=$(mktemp -d)
finish() {
  code=$?
  rm -rf "$context"
  # It is still there when it did not end in time.
  docker rm -f "$tester" >/dev/null 2>&1 || true
  docker image rm "$image" >/dev/null 2>&1 || true
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM
cp "$busybox" "$context/busybox"
docker build --quiet --tag "$image" --file docker/netcat.Dockerfile "$context" >/dev/null || fail "cannot build $image"

text="test_echo_server $$ ¡hola!"
# A dynamic busybox, or no network, also ends with no answer: what netcat says is on standard error.
got=$(printf '%s\n' "$text" | timeout 60 docker run --rm -i --name "$tester" --network "$network" "$image" -w 10 "$address" "$port") || true
if [ "$got" = "$text" ]; then
  echo "action: test_echo_server | result: success"
else
  echo "action: test_echo_server | result: fail"
  exit 1
fi
