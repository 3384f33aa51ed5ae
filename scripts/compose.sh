#!/usr/bin/env bash
# Writes a Docker Compose file for a folder of configs, whatever they run and however many they are.
set -eu
usage() {
  cat <<'USAGE'
usage: scripts/compose.sh [-o FILE] [-i IMAGE] [-p | -P] [-s NETWORK] DIR

Takes DIR/node-*.toml, which are for processes on one machine, and writes to DIR/docker/ the same
configs for containers, docker-compose.yml with one service each, node-ID, and .env with the name of
the project. The configs are mounted read-only, and so are the bets that an agency of the lottery names; a
node with a data_dir has it in a volume; a node that is told to stop is given longer than its drain_ms.

  -o  the compose file                         (DIR/docker/docker-compose.yml)
  -i  the image                                (node:latest)
  -p  publish every listener on this machine, where the config in DIR has it
  -P  publish every listener on a port of 127.0.0.1 that the engine picks: docker-compose port
  -s  the containers' network, A.B.C.0/BITS, when the one that is picked is taken
                                               (one of 10.64.0.0/22 to 10.95.252.0/22, by the project's name)

The name of the project is DIR's, with a checksum of its path, or COMPOSE_PROJECT_NAME; only the file
of -o has none: give docker-compose one with -p there. Run them with
  docker-compose -f DIR/docker/docker-compose.yml up -d      (or docker compose)
and remove them and their data with the same and: down -v
USAGE
}
file="" image=node:latest publish="" network=""
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "o:i:pPs:h" option; do
  case $option in
    o) file=$OPTARG ;; i) image=$OPTARG ;; s) network=$OPTARG ;;
    p) publish=same ;; P) publish=any ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || { usage >&2; exit 2; }
. "$(dirname "$0")/lib.sh"
fail() { echo "compose.sh: $*" >&2; exit 1; }
dir=$1
[ -d "$dir" ] || fail "no folder $dir: write configs first, for example with scripts/generate-kv.sh -o $dir"
full=$(cd "$dir" && pwd)
binary=$(node_binary)
# The engine takes small letters, digits, - and _, and a letter or a digit first.
hash=$(printf %s "$full" | cksum | cut -d' ' -f1)
name=$(basename "$full" | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9_-')
project=${COMPOSE_PROJECT_NAME:-node-$name-$hash}
if [ -z "$network" ]; then
  block=$(($(printf %s "$project" | cksum | cut -d' ' -f1) % 2048))
  network=10.$((64 + block / 64)).$((block % 64 * 4)).0/22
fi
expr "$network" : '[0-9]*\.[0-9]*\.[0-9]*\.0/[0-9]*$' >/dev/null || fail "-s $network: it must be A.B.C.0/BITS"

# What a config says in full: every key on a line of its own, every default filled in.
shown=$(mktemp -d)
trap 'rm -rf "$shown"' EXIT
ids=""
for config in "$full"/node-*.toml; do
  [ -e "$config" ] || fail "no node-*.toml in $dir: write configs first, for example with scripts/generate-kv.sh -o $dir"
  "$binary" check "$config" > "$shown/config" || exit 1
  id=$(sed -n 's/^id = //p' "$shown/config" | head -n 1)
  [ ! -e "$shown/$id" ] || fail "two configs of $dir have the id $id: give each node its own"
  mv "$shown/config" "$shown/$id"
  ids="$ids $id"
done
ids=$(printf '%s\n' $ids | sort -n)
[ "$(printf '%s\n' "$ids" | wc -l)" -le 1000 ] || fail "$dir has more than the 1000 nodes that a network has room for"

# A name would do in [peers], but the name of a container that is down is asked of the nameservers
# outside, and the node waits for their answer: so every container has an address of its own.
address() { # PLACE
  local base=${network%.0/*} at=$(($1 + 9))
  echo "${base%.*}.$((${base##*.} + at / 256)).$((at % 256))"
}
place=0 addresses=""
for id in $ids; do
  place=$((place + 1))
  addresses="$addresses $id=$(address $place)"
done

# bets_of ID: the file that the config names, from here; nothing where it names none.
bets_of() { sed -n 's/^bets = "\(.*\)"$/\1/p' "$shown/$1"; }
for id in $ids; do
  bets=$(bets_of "$id")
  [ -n "$bets" ] || continue
  # The engine would make a folder of what is not there.
  [ -f "$bets" ] || fail "node $id sends $bets, which is no file: write it first, for example with scripts/generate-bets.sh"
  [ -n "$(find -L "$bets" -perm -004)" ] || fail "$bets: the container has a user of its own, who may not read it: chmod a+r"
done

# Fresh, so that no config of a node that is gone is left.
out=$full/docker
mkdir -p "$out"
rm -f "$out"/node-*.toml
for id in $ids; do
  awk -v addresses="$addresses" -v id="$id" -v from="$dir" '
    BEGIN {
      count = split(addresses, pairs, " ")
      for (i = 1; i <= count; i++) { split(pairs[i], pair, "="); of[pair[1]] = pair[2] }
      print "# Node " id " in a container, written by scripts/compose.sh from the configs in " from "."
    }
    NR == 1 { next }
    /^\[/ { table = $0 }
    function port(addr) { sub(/.*:/, "", addr); sub(/"$/, "", addr); return addr }
    table == "[node]" && /^data_dir = / { print "data_dir = \"/data\""; next }
    table == "[[listeners]]" && /^addr = / { print "addr = \"0.0.0.0:" port($0) "\""; next }
    table == "[protocols.lottery]" && /^bets = / { print "bets = \"/bets.csv\""; next }
    table == "[peers]" && / = / {
      if (!($1 in of)) {
        print "compose.sh: node " id " has a peer " $1 ", whose config is not in " from > "/dev/stderr"
        exit 1
      }
      print $1 " = \"" of[$1] ":" port($0) "\"  # node-" $1
      next
    }
    { print }' "$shown/$id" > "$out/node-$id.toml"
  # The container has a user of its own.
  chmod a+r "$out/node-$id.toml"
  "$binary" check "$out/node-$id.toml" > /dev/null || exit 1
done

# Beside the configs they are found wherever the folder goes.
at=.
if [ -n "$file" ]; then at=$out; else file=$out/docker-compose.yml; fi
volumes=0
{
  echo "# The nodes of $dir, written by scripts/compose.sh."
  echo "services:"
  for id in $ids; do
    drain_ms=$(sed -n 's/^drain_ms = //p' "$shown/$id" | head -n 1)
    echo "  node-$id:"
    echo "    image: \"$image\""
    echo "    pull_policy: never"
    echo "    command: [\"--config\", \"/node.toml\"]"
    echo "    environment:"
    echo "      NODE_LOG: \"\${NODE_LOG:-info}\""
    echo "    restart: \"no\""
    echo "    stop_grace_period: $(((drain_ms + 999) / 1000 + 5))s"
    echo "    networks:"
    echo "      default:"
    echo "        ipv4_address: $(printf '%s\n' $addresses | sed -n "s/^$id=//p")"
    echo "    volumes:"
    echo "      - \"$(printf %s "$at" | sed 's/\$/$$/g')/node-$id.toml:/node.toml:ro\""
    bets=$(bets_of "$id")
    [ -z "$bets" ] || echo "      - \"$(realpath "$bets" | sed 's/\$/$$/g'):/bets.csv:ro\""
    if grep -q '^data_dir = ' "$shown/$id"; then
      volumes=1
      echo "      - \"data-$id:/data\""
    fi
    addrs=$(sed -n '/^\[\[listeners\]\]/,/^\[limits\]/s/^addr = "\(.*\)"$/\1/p' "$shown/$id")
    if [ -n "$publish" ] && [ -n "$addrs" ]; then
      echo "    ports:"
      for addr in $addrs; do
        case $publish in
          same) echo "      - \"$addr:${addr##*:}\"" ;;
          any) echo "      - \"127.0.0.1::${addr##*:}\"" ;;
        esac
      done
    fi
  done
  echo "networks:"
  echo "  default:"
  echo "    ipam:"
  echo "      config:"
  echo "        - subnet: $network"
  if [ "$volumes" = 1 ]; then
    echo "volumes:"
    for id in $ids; do
      if grep -q '^data_dir = ' "$shown/$id"; then echo "  data-$id: {}"; fi
    done
  fi
} > "$file"
[ "$at" != . ] || echo "COMPOSE_PROJECT_NAME=$project" > "$out/.env"
echo "wrote $(printf '%s\n' "$ids" | wc -l) services to $file, project $project, network $network" >&2
