#!/usr/bin/env bash
# Fills a small file system on a loop device, frees it and goes on, 20 times, on ext4 and (if mkfs.xfs is there) xfs.
# Needs root, loop devices and 600 MiB under the temporary directory. Removes what it made.
set -euo pipefail
cd "$(dirname "$0")/.."

cycles="${1:-20}"
cargo build --release -p seawall-wal --example full_disk
program="$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/examples/full_disk"

scratch="$(mktemp -d)"
cleanup() {
    mountpoint -q "$scratch/mnt" && umount "$scratch/mnt"
    rm -rf "$scratch"
}
trap cleanup EXIT
mkdir "$scratch/mnt"

fill() {
    local kind="$1" bytes="$2"
    truncate -s "$bytes" "$scratch/image"
    "mkfs.$kind" -q "$scratch/image"
    mount -o loop "$scratch/image" "$scratch/mnt"
    echo "$kind, $bytes:"
    "$program" "$scratch/mnt" "$cycles"
    umount "$scratch/mnt"
    rm "$scratch/image"
}

fill ext4 256M
if command -v mkfs.xfs > /dev/null; then
    fill xfs 320M
else
    echo "xfs: no mkfs.xfs, not run"
fi
