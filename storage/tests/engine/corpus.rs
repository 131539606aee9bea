//! Runs the engine's fuzz targets on their inputs in `fuzz/corpus/` and on mutations of them, without a
//! fuzzer (INV-9).
//!
//! An input that a fuzzer finds becomes a file there.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::{Seed, replay};
use seawall::testing::fuzz;

/// Encodes the `meta` of a record with these operations. Each is a kind, flags, a count, the group, and three
/// words.
fn meta(ops: &[(u8, u8, u32, [u64; 4])]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend_from_slice(&u32::try_from(ops.len()).expect("few").to_le_bytes());
    for (kind, flags, count, words) in ops {
        bytes.extend_from_slice(&[*kind, *flags, 0, 0]);
        bytes.extend_from_slice(&count.to_le_bytes());
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    }
    bytes
}

fn input(parts: u8, bytes: &[u8]) -> Vec<u8> {
    [&[parts], bytes].concat()
}

#[test]
fn engine_record_corpus() {
    let all = [
        (1, 1, 3, [7, 9, 4, 0]),
        (2, 0, 0, [7, 4, 1, 8]),
        (3, 0, 1, [8, 0, 0, 0]),
        (4, 0, 0, [9, 5, 2, 0]),
        (5, 0, 0, [9, 6, 2, 0]),
        (6, 0, 0, [10, 0, 0, 0]),
        (7, 0, 1, [7, 9, 4, 0]),
        (8, 0, 0, [11, 9, 4, 0x1234]),
        (9, 3, 1, [11, 0x79656b, 0, 0]),
        (1, 2, 1, [12, 1, 1, 0]),
        (7, 2, 1, [12, 1, 1, 0]),
        (9, 24, 0, [11, u64::MAX, u64::MAX, u64::MAX]),
        (10, 2, 2, [12, 1, 1, 0]),
    ];
    let conf = [1u64 | 1 << 16, 40, 2 | 1 << 32, 1, 11, 12, 13, 14].map(u64::to_le_bytes).concat();
    let seeds: [Seed; 9] = [
        ("empty", vec![]),
        ("no-operations", input(0, &meta(&[]))),
        ("every-kind", input(10, &meta(&all))),
        ("a-kind-to-come", input(0, &meta(&[(11, 0, 0, [1, 0, 0, 0])]))),
        ("a-key-too-long", input(1, &meta(&[(9, 25, 1, [1, 1, 1, 1])]))),
        ("entries-up-to-the-end", input(4, &meta(&[(1, 0, 4, [1, u64::MAX - 1, 1, 0])]))),
        ("parts-beyond", input(1, &meta(&[(1, 0, u32::MAX, [1, 1, 1, 0])]))),
        ("count-of-millions", input(0, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])),
        ("conf-state", input(0, &conf)),
    ];
    replay("engine_record", &seeds, 20_000, fuzz::engine_record);
}

/// A segment's index with these operations, which are as in [`meta`], and with `places` index places in `frames`.
fn index(ops: &[(u8, u8, u32, [u64; 4])], places: u32, frames: &[u8]) -> Vec<u8> {
    let count = u32::try_from(ops.len()).expect("few");
    let header = [1 << 16, 3, 1, count, places].map(u32::to_le_bytes).concat();
    [&header[..], &meta(ops)[8..], frames].concat()
}

/// A frame header, its four shape bytes, the CRCs of `places` payloads, and the columns.
fn frame(bases: [u32; 3], shape: [u8; 4], places: u32, columns: &[u8]) -> Vec<u8> {
    let crcs: Vec<u8> = (0..places).flat_map(u32::to_le_bytes).collect();
    [&bases.map(u32::to_le_bytes).concat()[..], &shape, &crcs, columns].concat()
}

#[test]
fn engine_index_corpus() {
    let entries = |first, count| (1, 0, count, [1, first, 1, 0]);
    let place = |offset: u32, length: u32| [offset, length, 7].map(u32::to_le_bytes).concat();
    let equal = frame([4096, 256, 48], [0; 4], 6, &[]);
    let odd = frame([4096, 256, 48], [1, 0, 2, 1], 5, &[0b10101, 0b0011_1001, 2, 0, 16, 0, 0]);
    let whole = frame([4096, 256, 0], [0; 4], 64, &[]);
    let of_two = [entries(63, 65), (2, 0, 0, [2, 4, 1, 8]), (9, 1, 1, [3, 0x6b, 0, 0])];
    let seeds: [Seed; 9] = [
        ("empty", vec![]),
        ("no-operations", index(&[], 0, &[])),
        ("a-list", index(&[entries(1, 3)], 3, &[place(96, 9), place(105, 0), place(900, 9)].concat())),
        ("equal-lengths", index(&[entries(1, 6)], 6, &equal)),
        ("packed-with-an-exception", index(&[entries(1, 5)], 5, &odd)),
        ("two-frames-and-a-value", index(&of_two, 66, &[place(96, 9), whole, place(105, 0)].concat())),
        ("an-offset-that-wraps", index(&[entries(1, 4)], 4, &frame([u32::MAX, u32::MAX, 1], [0; 4], 4, &[]))),
        ("a-width-too-large", index(&[entries(1, 4)], 4, &frame([1, 1, 1], [33, 0, 0, 0], 4, &[0; 64]))),
        ("count-of-millions", index(&[entries(1, u32::MAX)], u32::MAX, &[])),
    ];
    replay("engine_index", &seeds, 20_000, fuzz::engine_index);
}

#[test]
fn engine_payload_corpus() {
    // A zstd frame holds a magic number, a descriptor and the length of the content, then blocks, the last
    // one marked.
    let frame = |length: u8, blocks: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, length], blocks].concat();
    let with = |length: u32, frame: &[u8]| [&length.to_le_bytes()[..], frame].concat();
    let stored = frame(3, &[1 | 3 << 3, 0, 0, b'a', b'b', b'c']);
    let run = frame(200, &[1 | 1 << 1 | (200 & 31) << 3, 200 >> 5, 0, b'z']);
    let checked = |crc: u32| with(3 | 1 << 31, &[&crc.to_le_bytes()[..], &stored].concat());
    let seeds: [Seed; 10] = [
        ("empty", vec![]),
        // The CRC-32C of `abc`.
        ("with-a-checksum", checked(0x364b_3fb7)),
        ("with-another-checksum", checked(1)),
        ("stored", with(3, &stored)),
        ("run", with(200, &run)),
        ("another-length", with(4, &stored)),
        ("a-length-that-lies", with(u32::MAX, &stored)),
        ("a-frame-that-lies", with(255, &frame(255, &stored[6..]))),
        ("two-frames", with(3, &[&stored[..], &stored].concat())),
        ("no-frame", with(3, b"abc")),
    ];
    replay("engine_payload", &seeds, 20_000, fuzz::engine_payload);
}

#[test]
fn engine_replay_corpus() {
    // The first byte decides whether the log's prefix was released. Records follow: the number of operations
    // less one, then each operation as the target reads it.
    let grow = [0, 0, 4, 4, 3, 99, 0];
    let on = [0, 0, 20, 4, 0, 99, 0];
    let seeds: [Seed; 7] = [
        ("empty", vec![]),
        ("entries", [&[99], &grow[..], &on, &[0, 3, 4, 4, 8, 0]].concat()),
        ("hole", [&[99], &on[..]].concat()),
        ("hole-in-a-released-log", [&[0], &on[..]].concat()),
        ("hole-closed", [&[0], &on[..], &[0, 5, 16, 4, 0]].concat()),
        ("start-at-the-end", vec![99, 0, 6, 41, 4, 0, 0, 0, 40, 4, 0, 99, 0]),
        ("compacted-at-the-end", vec![0, 0, 5, 41, 4, 0, 0, 0, 40, 4, 0, 99, 0]),
    ];
    replay("engine_replay", &seeds, 2500, fuzz::engine_replay);
}
