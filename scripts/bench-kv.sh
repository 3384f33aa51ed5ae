#!/usr/bin/env bash
# Measures three servers on loopback with the load generator: console lines off, both durabilities.
# SECONDS_EACH sets how long each measurement takes (3).
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
binary=$(node_binary)
seconds=${SECONDS_EACH:-3}
dir=run/bench-kv
port=30097
clear_folder "$dir" "make bench"
finish() { scripts/cluster.sh down "$dir" 2>/dev/null || true; }
trap finish EXIT
trap 'exit 130' INT TERM
measure() { # WHAT ARGUMENTS...
  local what=$1
  shift
  printf '\n== %s, console lines off\n' "$what"
  "$binary" bench kv --servers "127.0.0.1:$port" --seconds "$seconds" "$@"
}
ready() { "$binary" kv --servers "127.0.0.1:$port" put ready yes; }
for durability in memory disk; do
  finish
  rm -rf "$dir"
  scripts/generate-kv.sh -q -o "$dir" -p "$port" -d "$durability"
  scripts/cluster.sh up "$dir"
  wait_for 10 "the leader takes PUTs" ready
  for connections in 1 50 500; do
    measure "PUT, durability $durability, $connections connections" --connections "$connections"
  done
  measure "PUT, durability $durability, 50 connections, 16 deep" --connections 50 --depth 16
  [ "$durability" = disk ] || measure "GET, 50 connections" --connections 50 --put-percent 0
done
