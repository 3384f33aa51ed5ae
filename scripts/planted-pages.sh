#!/bin/sh
# Draws planted bugs, and writes the page of each one's shrunk run, without its name, for fresh
# eyes: whoever sees the page alone should be able to say what is wrong.
#
#   scripts/planted-pages.sh FOLDER [HOW_MANY] [SEED]
#
# FOLDER/answers.txt has the names.
set -eu
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [HOW_MANY] [SEED]" >&2; exit 2; }
mkdir -p "$1"
PAGES_TO=$(cd "$1" && pwd) PAGES=${2:-10} PAGES_SEED=${3:-1} \
    cargo test -q -p node --features mutants --test mutants -- --ignored --exact pages_of_planted_bugs
