#!/usr/bin/env bash
# Fills a small file system with the engine, and with raft-engine beside it, frees it and goes on, on ext4 and (if
# mkfs.xfs is there) xfs. Arguments go to the program: --cycles N, --json FILE (of the last file system) and so on.
# Needs root, loop devices and 600 MiB under the temporary directory. Removes what it made.
set -euo pipefail
cd "$(dirname "$0")/.."

manifest=benches/compare/Cargo.toml
cargo build --release --manifest-path "$manifest" --bin seawall-compare-engine
target="$(cargo metadata --manifest-path "$manifest" --format-version 1 --no-deps \
    | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"

scratch="$(mktemp -d)"
cleanup() {
    mountpoint -q "$scratch/mnt" && umount "$scratch/mnt"
    rm -rf "$scratch"
}
trap cleanup EXIT
mkdir "$scratch/mnt"

fill() {
    local kind="$1" bytes="$2"
    shift 2
    truncate -s "$bytes" "$scratch/image"
    "mkfs.$kind" -q "$scratch/image"
    mount -o loop "$scratch/image" "$scratch/mnt"
    echo "$kind, $bytes:"
    "$target/release/seawall-compare-engine" full-disk --dir "$scratch/mnt" "$@"
    umount "$scratch/mnt"
    rm "$scratch/image"
}

fill ext4 256M "$@"
if command -v mkfs.xfs > /dev/null; then
    fill xfs 320M "$@"
else
    echo "xfs: no mkfs.xfs, not run"
fi
