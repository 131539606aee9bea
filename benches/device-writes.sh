#!/usr/bin/env bash
# Counts the device's writes and flushes per durable append on a fresh ext4 and a fresh xfs, each on a loop device
# of its own. Needs root, losetup and mkfs.ext4; mkfs.xfs (package xfsprogs) where there is one. Whatever happens,
# mounts, loop devices and files are gone at the end.
#
#   benches/device-writes.sh [OUT_DIR] [walbench device-writes options..]
#
# OUT_DIR, if given, must exist; it gets ext4.json and xfs.json. TMPDIR chooses where the images (1 GiB each) go: it
# should be a real disk. WALBENCH names a walbench that is already built.
set -euo pipefail

image_bytes=$((1 << 30))
out=""
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    out="$1"
    shift
    test -d "$out" || { echo "device-writes.sh: $out is not a directory" >&2; exit 1; }
    out="$(cd "$out" && pwd)"
fi
test "$(id -u)" = 0 || { echo "device-writes.sh: loop devices and mounts need root" >&2; exit 1; }

if [ -z "${WALBENCH:-}" ]; then
    cd "$(dirname "$0")/.."
    cargo build --release --quiet --bin walbench
    WALBENCH="${CARGO_TARGET_DIR:-target}/release/walbench"
fi
WALBENCH="$(realpath "$WALBENCH")"

scratch="$(mktemp -d)"
loop=""
mounted=""

unmount() {
    if [ -n "$mounted" ]; then umount "$mounted" && mounted=""; fi
    if [ -n "$loop" ]; then losetup --detach "$loop" && loop=""; fi
}

cleanup() {
    unmount || true
    # Nothing is removed through a mount that could not be undone.
    if [ -n "$mounted" ]; then
        echo "device-writes.sh: $mounted is still mounted; remove $scratch by hand" >&2
    else
        rm -rf "$scratch"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

ran=0
for fs in ext4 xfs; do
    if ! command -v "mkfs.$fs" >/dev/null; then
        echo "$fs: no mkfs.$fs here, left out"
        continue
    fi
    image="$scratch/$fs.img"
    fallocate --length "$image_bytes" "$image"
    # With direct I/O a flush of the loop device is one of the disk below it, and not of the page cache.
    loop="$(losetup --find --show --direct-io=on "$image")"
    case "$fs" in
        # Without lazy initialisation, which would write to the device meanwhile.
        ext4) mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$loop" ;;
        xfs) mkfs.xfs -q "$loop" ;;
    esac
    mkdir "$scratch/$fs"
    mount -t "$fs" "$loop" "$scratch/$fs"
    mounted="$scratch/$fs"

    echo "== $fs on $loop"
    json=()
    if [ -n "$out" ]; then json=(--json "$out/$fs.json"); fi
    "$WALBENCH" device-writes --dir "$mounted" ${json[@]+"${json[@]}"} "$@"
    echo
    unmount
    rm "$image"
    ran=$((ran + 1))
done
test "$ran" -gt 0 || { echo "device-writes.sh: neither mkfs.ext4 nor mkfs.xfs" >&2; exit 1; }
