#!/usr/bin/env bash
# Runs the soak example in a memory cgroup that is a little smaller than what it wants, so that the kernel
# reclaims pages all the time. Needs root and the memory controller (version 1 or 2).
# benches/soak.sh [SECONDS] [BACKEND] [MIB]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-1800}" backend="${2:-auto}" mib="${3:-140}"
cargo build --release -p seawall-wal --example soak
dir="$(mktemp -d -p "${SOAK_DIR:-${CARGO_TARGET_DIR:-target}}")"
group=""
cleanup() { rm -rf "$dir"; [ -z "$group" ] || { sleep 1; rmdir "$group"; }; }
trap cleanup EXIT
if [ -d /sys/fs/cgroup/memory ]; then
    group=/sys/fs/cgroup/memory/seawall-soak
    mkdir -p "$group"
    echo "${mib}M" > "$group/memory.limit_in_bytes"
else
    echo +memory > /sys/fs/cgroup/cgroup.subtree_control
    group=/sys/fs/cgroup/seawall-soak
    mkdir -p "$group"
    echo "${mib}M" > "$group/memory.max"
fi
soak="$(realpath "${CARGO_TARGET_DIR:-target}")/release/examples/soak"
# The hog takes most of it; what is left is less than log, readers and page cache want.
(echo "$BASHPID" > "$group/cgroup.procs"; exec "$soak" "$dir/log" "$seconds" "$((mib * 5 / 7))" "$backend")
