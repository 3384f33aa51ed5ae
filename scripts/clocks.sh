#!/usr/bin/env bash
# Four nodes that call each other for random numbers, with the Lamport clock at each step, until
# interrupted.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
watch clocks "  $(node_binary) clock"
