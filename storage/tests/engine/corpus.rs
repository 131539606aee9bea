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
    ];
    let conf = [1u64 | 1 << 16, 40, 2 | 1 << 32, 1, 11, 12, 13, 14].map(u64::to_le_bytes).concat();
    let seeds: [Seed; 9] = [
        ("empty", vec![]),
        ("no-operations", input(0, &meta(&[]))),
        ("every-kind", input(8, &meta(&all))),
        ("a-kind-to-come", input(0, &meta(&[(10, 0, 0, [1, 0, 0, 0])]))),
        ("a-key-too-long", input(1, &meta(&[(9, 25, 1, [1, 1, 1, 1])]))),
        ("entries-up-to-the-end", input(4, &meta(&[(1, 0, 4, [1, u64::MAX - 1, 1, 0])]))),
        ("parts-beyond", input(1, &meta(&[(1, 0, u32::MAX, [1, 1, 1, 0])]))),
        ("count-of-millions", input(0, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])),
        ("conf-state", input(0, &conf)),
    ];
    replay("engine_record", &seeds, 20_000, fuzz::engine_record);
}

#[test]
fn engine_payload_corpus() {
    // A zstd frame holds a magic number, a descriptor and the length of the content, then blocks, the last
    // one marked.
    let frame = |length: u8, blocks: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, length], blocks].concat();
    let with = |length: u32, frame: &[u8]| [&length.to_le_bytes()[..], frame].concat();
    let stored = frame(3, &[1 | 3 << 3, 0, 0, b'a', b'b', b'c']);
    let run = frame(200, &[1 | 1 << 1 | (200 & 31) << 3, 200 >> 5, 0, b'z']);
    let seeds: [Seed; 8] = [
        ("empty", vec![]),
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
