//! Tests that the engine compresses payloads one by one where this saves space, and that readers get them
//! unchanged (INV-9): with limits and ranges, after they are copied out of old segments, and after a restart
//! with other options.

use seawall::{Compression, Engine, EntryRef, Error, Options, WriteBatch};
use seawall_wal::disk::sim::{SimDisk, SimOptions};

use crate::simulated::stepped;

const GROUP: u64 = 7;

fn options(compression: bool) -> Options {
    let compression = compression.then_some(Compression { from_bytes: 1000, level: 1 });
    let mut options =
        Options::default().with_compression(compression).with_slack_bytes(0).with_cache_bytes(0);
    options.log.segment_bytes = 64 << 10;
    options
}

/// Returns the payload of an entry. Of three payloads, one is small, one is large and compressible, and one
/// is large and incompressible.
fn payload(index: u64) -> Vec<u8> {
    let length = if index.is_multiple_of(3) { 100 } else { 3000 + usize::try_from(index).unwrap() };
    let mut x = index;
    let noise = std::iter::repeat_with(|| {
        x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB).to_le_bytes()
    });
    let mut bytes: Vec<u8> = noise.flatten().take(length).collect();
    if index % 3 == 1 {
        bytes[200..].fill(9);
    }
    bytes
}

fn append(engine: &Engine, from: u64, to: u64) {
    let payloads: Vec<Vec<u8>> = (from..to).map(payload).collect();
    let entries: Vec<EntryRef<'_>> =
        (from..).zip(&payloads).map(|(index, payload)| EntryRef { index, term: 1, payload }).collect();
    let mut batch = WriteBatch::new();
    batch.append(GROUP, &entries);
    engine.write(&mut batch).unwrap().wait().unwrap();
}

fn check(engine: &Engine, from: u64, to: u64) {
    let group = engine.group(GROUP);
    assert_eq!((group.first_index(), group.last_index()), (from, to - 1));
    let all = group.entries(from, to, None).unwrap();
    assert!(all.iter().zip(from..to).all(|(entry, index)| entry.payload == payload(index)));
    assert_eq!(all.len() as u64, to - from);
    // Limits count the bytes of the payloads as the caller passed them.
    for limit in [0, 1, 3000, 6200, 9500, 20_000] {
        let mut bytes = 0;
        let fit = (from..to).take_while(|index| {
            bytes += payload(*index).len() as u64;
            bytes <= limit || *index == from
        });
        let got = group.entries(from, to, Some(limit)).unwrap();
        assert_eq!(got.len(), fit.count(), "{limit}");
    }
}

#[test]
fn readers_get_what_was_written_under_any_options() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(true)).unwrap();
    (0..5).for_each(|n| append(&engine, 6 * n + 1, 6 * n + 7));
    check(&engine, 1, 31);
    let stats = engine.stats().unwrap().compression;
    assert_eq!((stats.entries, stats.declined), (10, 10), "{stats:?}");
    assert!(stats.stored_bytes * 8 < stats.raw_bytes, "{stats:?}");
    drop(engine);
    for (compression, cache_bytes, verify_on_open) in
        [(false, 0, false), (true, 1 << 20, true), (false, 1 << 20, false)]
    {
        disk.crash();
        let mut options = options(compression).with_cache_bytes(cache_bytes);
        options.log.verify_on_open = verify_on_open;
        let (engine, _) = Engine::open_in(stepped(&disk), &options).unwrap();
        let to = engine.group(GROUP).last_index() + 1;
        check(&engine, 1, to);
        append(&engine, to, to + 6);
        check(&engine, 1, to + 6);
        assert_eq!(engine.stats().unwrap().compression.entries, if compression { 2 } else { 0 });
    }
}

#[test]
fn what_was_just_written_is_read_from_memory_as_it_was() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(true).with_cache_bytes(1 << 20)).unwrap();
    append(&engine, 1, 13);
    check(&engine, 1, 13);
    let stats = engine.stats().unwrap();
    assert_eq!((stats.cache.misses, stats.compression.entries), (0, 4), "{stats:?}");
}

#[test]
fn copies_out_of_old_segments_stay_compressed() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(true)).unwrap();
    append(&engine, 1, 13);
    let before = engine.stats().unwrap();
    let mut batch = WriteBatch::new();
    for index in 1.. {
        batch.append(9, &[EntryRef { index, term: 1, payload: &[0; 900] }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
        batch.compact(9, index);
        drop(engine.write(&mut batch).unwrap());
        if engine.stats().unwrap().rewrite.entries >= 24 {
            break;
        }
        assert!(index < 2000, "{:?}", engine.stats());
    }
    let stats = engine.stats().unwrap();
    assert_eq!(stats.compression, before.compression, "nothing was compressed again");
    // In each of two rounds, the engine copies four payloads of noise, four small ones, and four that take at
    // most 300 bytes compressed.
    assert!(stats.rewrite.bytes < 2 * (4 * 3010 + 4 * 100 + 4 * 300) + 20_000, "{:?}", stats.rewrite);
    check(&engine, 1, 13);
    drop(engine);
    for _ in 0..2 {
        disk.crash();
        let (engine, _) = Engine::open_in(stepped(&disk), &options(false)).unwrap();
        check(&engine, 1, 13);
    }
}

#[test]
fn what_is_too_large_is_so_whatever_it_holds() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(true)).unwrap();
    let payload = vec![0; engine.entry_bytes_max().unwrap() + 2000];
    let mut batch = WriteBatch::new();
    batch.append(GROUP, &[EntryRef { index: 1, term: 1, payload: &payload }]);
    let error = engine.write(&mut batch).expect_err("too large");
    assert!(matches!(error, Error::BatchTooLarge { .. } | Error::EntryTooLarge { .. }), "{error}");
    batch.clear();
    batch.append(GROUP, &[EntryRef { index: 1, term: 1, payload: &payload[2000..] }]);
    drop(engine.write(&mut batch).expect("as large as may be"));
    assert_eq!(engine.group(GROUP).entries(1, 2, None).unwrap()[0].payload, &payload[2000..]);
}

#[test]
fn options_out_of_range_are_named() {
    let disk = SimDisk::new(1, SimOptions::default());
    for (from_bytes, level, name) in [
        (511, 1, "compression.from_bytes"),
        (1 << 27, 1, "compression.from_bytes"),
        (512, 20, "compression.level"),
    ] {
        let options = options(true).with_compression(Some(Compression { from_bytes, level }));
        let Err(Error::OptionOutOfRange(out)) = Engine::create_in(stepped(&disk), &options) else {
            panic!("{name}")
        };
        assert_eq!(out.option, name);
    }
}
