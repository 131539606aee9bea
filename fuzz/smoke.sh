#!/usr/bin/env bash
# Runs each fuzz target for a short while, from the corpus in the tree: smoke.sh [seconds [target ...]].
# Needs a nightly compiler and cargo-fuzz; without them it says so and is content, since `cargo test` has
# run the corpus. What the fuzzer learns goes to fuzz/target/, what it finds to fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-10}"
shift || true
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz/smoke.sh: no nightly compiler; fuzzing did not run" >&2
    exit 0
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "fuzz/smoke.sh: no cargo-fuzz (cargo install cargo-fuzz); fuzzing did not run" >&2
    exit 0
fi
if [ $# -eq 0 ]; then
    for target in fuzz_targets/*.rs; do
        set -- "$@" "$(basename "$target" .rs)"
    done
fi
for target in "$@"; do
    mkdir -p "target/corpus/$target"
    cargo +nightly fuzz run --fuzz-dir . "$target" "target/corpus/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
