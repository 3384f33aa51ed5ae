#!/usr/bin/env bash
# Fuzzes every target for so many seconds, from the corpus; what it finds is under target/fuzz, and
# an input that breaks something under fuzz/artifacts.
set -eu
cd "$(dirname "$0")/.."
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "cargo fuzz is needed: cargo install cargo-fuzz (and a C++ compiler)" >&2
  exit 1
fi
# No sanitizer: there is no unsafe code to watch, and the stable compiler does the rest.
cargo fuzz build --sanitizer none
for target in fuzz/targets/*.rs; do
  target=$(basename "$target" .rs)
  found=target/fuzz/$target
  mkdir -p "$found"
  echo "fuzzing $target for $1 s"
  cargo fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
    -max_total_time="$1" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 2>"$found.log" ||
    { tail -n 60 "$found.log" >&2; exit 1; }
  grep -E 'number_of_executed_units|Done' "$found.log" | tail -n 2
done
