#!/usr/bin/env bash
# Fills a small file system on a loop device, frees it and goes on, 20 times, on ext4 and (where mkfs.xfs and mkfs.btrfs
# are there) xfs and btrfs. Half of the time the log is opened again while the file system is full. On xfs it does so
# with files that share their blocks with a copy, too: writing them again takes room, and there is none.
# Needs root, loop devices and 800 MiB under the temporary directory. Removes what it made.
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
    shift 2
    truncate -s "$bytes" "$scratch/image"
    "mkfs.$kind" -q "$scratch/image"
    mount -o loop "$scratch/image" "$scratch/mnt"
    echo "$kind, $bytes${*:+, $*}:"
    "$program" "$scratch/mnt" "$cycles" "$@"
    umount "$scratch/mnt"
    rm "$scratch/image"
}

fill ext4 256M
if command -v mkfs.xfs > /dev/null; then
    fill xfs 320M
    cycles=1 fill xfs 320M shared
else
    echo "xfs: no mkfs.xfs, not run"
fi
if command -v mkfs.btrfs > /dev/null; then
    fill btrfs 400M
else
    echo "btrfs: no mkfs.btrfs, not run"
fi
