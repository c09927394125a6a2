#!/bin/sh
# Fuzzes the decoding of tokens, foreign keys, events, commands and cursors (cargo-fuzz, libFuzzer): `deploy/fuzz.sh [seconds each]`.
# `cargo install cargo-fuzz --locked` first.
set -eu
cd "$(dirname "$0")/../fuzz"
# Sanitizers are not stable in rustc; the programs that are shipped are built without this.
export RUSTC_BOOTSTRAP=1
for golden in ../events/golden/*/*.json; do
    name=${golden#../events/golden/}
    mkdir -p corpus/event
    { echo "${name%.json}"; cat "$golden"; } >"corpus/event/$(echo "$name" | tr / -)"
done
for target in token keys event command cursor; do
    mkdir -p "corpus/$target"
    cargo fuzz run --fuzz-dir . "$target" "corpus/$target" $(ls -d "seeds/$target" 2>/dev/null) -- -max_total_time="${1:-60}" -timeout=10 -max_len=8192 -print_final_stats=1
done
