//! Tests that run the log's fuzz targets, without a fuzzer, on the inputs in `fuzz/corpus/` and on mutations
//! of them (INV-5, INV-6, INV-9, INV-10).
//!
//! An input that a fuzzer finds becomes a file there. The seeds below lead a fuzzer to each kind of input.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::{Seed, replay};
use seawall_wal::disk::{clock::Random, sim::SimRandom};
use seawall_wal::inspect::{
    Closed, Features, Identity, Manifest, ManifestFile, ManifestSegment, ProviderName,
};
use seawall_wal::testing::fuzz;
use seawall_wal::{Durability, Lsn, RecordBuilder};

/// Flag in the first byte of an input for a format: the target corrects the checksums.
const REPAIR: u8 = 1;
/// Flag: the target also corrects the checksums of parts.
const REPAIR_PARTS: u8 = 2;
/// Flag: the target builds the structure from choices in the input.
const BUILT: u8 = 4;

/// A flags byte, the number of a bit, and `body`.
fn input(flags: u8, bit: u16, body: &[u8]) -> Vec<u8> {
    [&[flags], &bit.to_le_bytes()[..], body].concat()
}

/// The bytes of a record with `meta`, and with parts of these lengths.
fn record(meta: &[u8], parts: &[usize]) -> Vec<u8> {
    let (mut batch, mut bytes) = (RecordBuilder::new(), Vec::new());
    batch.meta().extend_from_slice(meta);
    parts.iter().for_each(|&len| batch.push_part(&vec![7; len]));
    batch.encode_into(Durability::Sync, 0, Lsn::ZERO, &mut |b| bytes.extend_from_slice(b));
    bytes
}

/// `bytes` with the 32-bit word at `at` set to `word`.
fn with(mut bytes: Vec<u8>, at: usize, word: u32) -> Vec<u8> {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    bytes
}

/// A group header with a record count and a length of its records. The target sets the magic and the
/// checksums.
fn group_header(count: u32, body_bytes: u32) -> Vec<u8> {
    with(with(vec![0; 64], 44, count), 56, body_bytes)
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let random = SimRandom::new(seed);
    (0..len).map(|_| random.next_u64().to_le_bytes()[0]).collect()
}

#[test]
fn record_corpus() {
    let seeds: [Seed; 9] = [
        ("empty", vec![]),
        ("plain", input(REPAIR, 9, &record(b"about", &[5, 0, 300]))),
        ("nothing-in-it", input(REPAIR, 0, &record(b"", &[]))),
        ("bad-part", input(REPAIR, 0, &with(record(b"m", &[4, 4]), 33, 0))),
        ("parts-repaired", input(REPAIR | REPAIR_PARTS, 300, &with(record(b"m", &[4, 4]), 33, 4))),
        ("part-beyond", input(REPAIR, 0, &with(record(b"", &[4]), 24, u32::MAX))),
        ("count-of-millions", input(REPAIR, 0, &with(record(b"", &[4]), 12, 1 << 29))),
        ("built", input(BUILT, 1000, &noise(1, 40))),
        ("built-and-damaged", input(BUILT | REPAIR, 1000, &noise(2, 400))),
    ];
    replay("record", &seeds, 40_000, fuzz::record);
}

#[test]
fn group_corpus() {
    let one = [group_header(1, 48), record(b"12345678", &[8])].concat();
    let two = [group_header(2, 96), record(b"12345678", &[8]), record(b"", &[16, 0])].concat();
    let seeds: [Seed; 9] = [
        ("empty", vec![]),
        ("mark", input(REPAIR, 8, &with(group_header(0, 0), 4, 1))),
        ("one-record", input(REPAIR | REPAIR_PARTS, 70, &one)),
        ("two-records", input(REPAIR | REPAIR_PARTS, 170, &two)),
        ("body-beyond", input(REPAIR, 0, &group_header(1, u32::MAX))),
        ("body-within-rounding", input(REPAIR, 0, &group_header(1, u32::MAX - 64))),
        ("count-of-millions", input(REPAIR | REPAIR_PARTS, 0, &with(one.clone(), 44, u32::MAX))),
        ("built", input(BUILT, 5000, &noise(3, 60))),
        ("built-and-damaged", input(BUILT | REPAIR | REPAIR_PARTS, 5000, &noise(4, 600))),
    ];
    replay("group", &seeds, 20_000, fuzz::group);
}

#[test]
fn footer_corpus() {
    let seeds: [Seed; 6] = [
        ("empty", vec![]),
        ("no-index", input(BUILT, 0, &[])),
        ("short", input(BUILT, 77, &[5; 40])),
        ("just-a-block", input(BUILT, 100, &[5; 4096 - 64 - 24 - 8 - 16])),
        ("just-more", input(BUILT, 100, &[5; 4096 - 64 - 24 - 8 - 15])),
        ("tail-beyond", input(REPAIR, 0, &[0xFF; 16])),
    ];
    replay("footer", &seeds, 40_000, fuzz::footer);
}

#[test]
fn closed_corpus() {
    let whole = Closed { uuid: [7; 16], end: Lsn::new(3, 8192) }.encode();
    let seeds: [Seed; 6] = [
        ("empty", vec![]),
        ("as-written", input(0, 300, &whole)),
        ("of-a-larger-block", input(BUILT, 40_000, &[&whole[..], &[0]].concat())),
        ("repaired", input(REPAIR | BUILT, 8, &noise(12, 40))),
        ("more-behind", input(REPAIR | BUILT, 8, &noise(13, 80))),
        ("cut", input(0, 0, &whole[..64])),
    ];
    replay("closed", &seeds, 20_000, fuzz::closed);
}

fn identity(features: Features) -> Identity {
    let provider = features.contains(Features::SEALED).then(|| ProviderName::new("test").expect("a name"));
    Identity { uuid: [7; 16], block_bytes: 4096, features, read_only_compatible: 0, created_ms: 5, provider }
}

#[test]
fn identity_corpus() {
    let plain = identity(Features::default()).encode();
    let sealed = identity(Features::SEALED.with(Features::FORGOTTEN)).encode();
    let seeds: [Seed; 7] = [
        ("empty", vec![]),
        ("as-written", input(0, 300, &plain)),
        ("sealed", input(0, 600, &sealed)),
        ("sealed-repaired", input(REPAIR | BUILT, 700, &sealed[..128])),
        ("of-a-larger-block", input(BUILT, 40_000, &[&plain[..], &[0]].concat())),
        ("unknown-feature", input(REPAIR | BUILT, 8, &with(plain[..64].to_vec(), 32, 1 << 20))),
        ("cut", input(0, 0, &plain[..64])),
    ];
    replay("identity", &seeds, 20_000, fuzz::identity);
}

#[test]
fn checkpoint_corpus() {
    let Identity { uuid, block_bytes, read_only_compatible, created_ms, .. } = identity(Features::default());
    let segment = |sequence, end| ManifestSegment {
        sequence,
        salt: 9,
        end,
        file_bytes: 65536,
        digest: [u8::try_from(sequence).unwrap_or(0); 32],
    };
    let file = |name: &str| ManifestFile { name: name.to_owned(), bytes: 70, digest: [3; 32] };
    let plain = Manifest {
        uuid,
        block_bytes,
        features: Features::default(),
        read_only_compatible,
        provider: None,
        end: Lsn::new(2, 12288),
        first_live: 1,
        created_ms,
        base: None,
        segments: vec![segment(1, 65536), segment(2, 12288), segment(3, 4096)],
        files: vec![],
    };
    let more = Manifest {
        features: Features::SEALED,
        provider: ProviderName::new("test"),
        base: Some([4; 32]),
        files: vec![file("snap/a"), file("snap/b")],
        ..plain.clone()
    };
    let (plain, more) = (plain.encode().expect("valid"), more.encode().expect("valid"));
    let seeds: [Seed; 8] = [
        ("empty", vec![]),
        ("as-written", input(0, 300, &plain)),
        ("with-files", input(0, 3000, &more)),
        ("repaired", input(REPAIR, 900, &more)),
        ("segments-of-millions", input(REPAIR, 0, &with(plain.clone(), 60, u32::MAX))),
        ("names-beyond", input(REPAIR, 0, &with(more.clone(), 68, u32::MAX))),
        ("a-name-longer-than-all", input(REPAIR, 0, &with(more.clone(), 176 + 3 * 64 + 8, 0xffff))),
        ("cut", input(REPAIR, 0, &more[..200])),
    ];
    replay("checkpoint", &seeds, 20_000, fuzz::checkpoint);
}

#[test]
fn segment_corpus() {
    let seeds: [Seed; 6] = [
        ("empty", vec![]),
        ("as-written", vec![0, 99, 99]),
        ("stale", vec![0, 99, 0]),
        ("nothing-behind-the-header", vec![0, 0, 99]),
        ("noise", [&[0, 99, 99], &noise(5, 120)[..]].concat()),
        ("header-not-repaired", [&[99, 99, 99], &noise(6, 60)[..]].concat()),
    ];
    replay("segment", &seeds, 4000, fuzz::segment);
}

/// The bytes of an input choose a log, a policy, and changes to its files.
#[test]
fn recovery_corpus() {
    let at = |offset: u16| offset.to_le_bytes();
    // An input has the log, the policy, the file (0 is the identity), the kind of change, its offset, and its
    // details.
    let change = |log: u8, file: u8, kind: u8, offset: u16, rest: &[u8]| {
        [&[log, 99, file, kind], &at(offset)[..], rest].concat()
    };
    let seeds: [Seed; 12] = [
        ("empty", vec![]),
        ("sound", vec![0, 99]),
        ("sound-after-a-crash", vec![1, 99]),
        ("sound-released", vec![2, 99]),
        ("identity-gone", vec![0, 99, 0, 0]),
        ("identity-cut", vec![0, 99, 0, 1, 100, 0]),
        ("first-segment-gone", vec![0, 99, 1, 0]),
        ("header-flipped", change(0, 2, 3, 10, &[0, 1])),
        ("record-flipped", change(1, 2, 3, 4096 + 100, &[3, 255])),
        ("group-lost", change(0, 3, 11, 2 * 4096, &[])),
        ("misplaced", change(2, 2, 12, 3 * 4096, &at(4096))),
        ("noise", [&[0, 10], &noise(8, 100)[..]].concat()),
    ];
    replay("recovery", &seeds, 2500, fuzz::recovery);
}

#[test]
fn operations_corpus() {
    let seeds: [Seed; 6] = [
        ("empty", vec![]),
        ("appends", vec![0; 60]),
        ("appended-and-issued", [0, 0, 30, 45, 70, 90].repeat(25)),
        ("noise-1", noise(9, 400)),
        ("noise-2", noise(10, 900)),
        ("noise-3", noise(11, 1600)),
    ];
    replay("operations", &seeds, 400, fuzz::operations);
}
