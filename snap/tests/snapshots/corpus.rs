//! Tests that run the fuzz targets of snapshots, without a fuzzer, on the inputs in
//! `fuzz/corpus/snapshot_format/` and `fuzz/corpus/snapshot_catalog/` and on mutations of them (INV-9).
//!
//! An input that a fuzzer finds becomes a file there.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::{Seed, replay};
use seawall_snap::SnapshotId;
use seawall_snap::format::{ChunkHeader, Header, Trailer, encode_opening};
use seawall_snap::testing::fuzz;

/// First byte of an input: what follows.
const OPENING: u8 = 0;
const CHUNK: u8 = 1;
const TRAILER: u8 = 2;
const CONTENT: u8 = 3;
/// Flag in the first byte: the target corrects the checksums.
const REPAIR: u8 = 4;

fn input(flags: u8, bit: u8, bytes: &[u8]) -> Vec<u8> {
    [&[flags, bit], bytes].concat()
}

/// `bytes` with the 32-bit word at `at` set to `word`.
fn with(bytes: &[u8], at: usize, word: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    bytes
}

#[test]
fn snapshot_format_corpus() {
    let id = SnapshotId { group: 1, index: 2, term: 3 };
    let opening = encode_opening(id, 4096, b"conf state", b"metadata").expect("within the limits");
    let header = Header::decode(&opening).expect("what was encoded");
    let chunk = ChunkHeader::new(&header, 0, 5, b"plain").expect("within the limits").encode();
    let trailer = Trailer { chunk_count: 1, raw_bytes: 5, stored_bytes: 5, digest: [9; 32] }.encode();
    let seeds: [Seed; 13] = [
        ("empty", vec![]),
        ("opening", input(OPENING, 3, &opening)),
        ("opening-repaired", input(OPENING | REPAIR, 99, &opening)),
        ("conf-state-beyond", input(OPENING | REPAIR, 0, &with(&opening, 40, u32::MAX))),
        ("conf-state-of-16-mib", input(OPENING | REPAIR, 0, &with(&opening, 40, 16 << 20))),
        ("another-version", input(OPENING, 0, &with(&opening, 8, 2))),
        ("chunk", input(CHUNK, 3, &[&chunk[..], b"plain"].concat())),
        ("chunk-of-nothing", input(CHUNK | REPAIR, 0, &with(&chunk, 8, 0))),
        ("chunk-beyond", input(CHUNK | REPAIR, 0, &with(&chunk, 8, u32::MAX))),
        ("trailer", input(TRAILER, 200, &trailer)),
        ("trailer-and-more", input(TRAILER, 0, &[&trailer[..], b"x"].concat())),
        ("content", input(CONTENT, 60, b"a conf state, and metadata")),
        ("no-content", input(CONTENT, 0, b"")),
    ];
    replay("snapshot_format", &seeds, 20_000, fuzz::snapshot_format);
}

#[test]
fn snapshot_catalog_corpus() {
    // An input begins with 1 if the log does not cover the gap, else with 0. Each change then has a kind, a
    // name, a place and a value.
    let seeds: [Seed; 8] = [
        ("empty", vec![]),
        ("sound", vec![0]),
        ("newest-flipped", vec![0, 0, 0x20, 128, 1]),
        ("newest-flipped-not-covered", vec![1, 0, 0x20, 128, 1]),
        ("all-flipped", vec![0, 0, 0x20, 9, 1, 0, 0x10, 99, 2, 0, 0, 250, 3]),
        ("cut-and-foreign", vec![0, 1, 0x20, 200, 0, 4, 6, 0, 7, 4, 3, 0, 7, 4, 4, 0, 9]),
        ("another-under-the-name", vec![0, 3, 0x20, 0, 0, 3, 0x30, 0, 1, 3, 0x35, 0, 2]),
        ("removed-and-damaged-before", vec![1, 2, 0x20, 0, 0, 4, 0x25, 0, 5, 4, 0x65, 0, 5]),
    ];
    replay("snapshot_catalog", &seeds, 2_000, fuzz::catalog);
}

/// Runs the target on 2000 pseudorandom inputs, or as many as `SEAWALL_RUNS` says, for machines without a
/// fuzzer.
#[test]
fn snapshot_catalog_at_random() {
    let runs = std::env::var("SEAWALL_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(2000usize);
    for seed in 0..runs {
        let mut input = vec![0; 1 + seed % 25];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut input);
        fuzz::catalog(&input);
    }
}
