//! Tests readers while writers overwrite, compact, restart and remove groups, on segments so small that files
//! are released and recycled all the time.
//!
//! A reader gets what was written at some moment during its read, or a typed error that says that it is gone.
//! It never gets other bytes, and never damage on a sound disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seawall::{Engine, Entry, EntryRef, Error, HardState, Options, WriteBatch};
use tempfile::TempDir;

fn small() -> Options {
    // The cache holds a few records, so memory has all, half or none of the entries of a read. Live entries
    // are copied out of old segments all the time.
    let mut options =
        Options::default().with_reemit_groups_max(8).with_slack_bytes(0).with_cache_bytes(8 << 10);
    options.log.segment_bytes = 64 << 10;
    options
}

/// Returns bytes that repeat group, index, term and a check word of the three.
fn payload(group: u64, index: u64, term: u64, length: usize) -> Vec<u8> {
    let words = [group, index, term, !(group ^ index ^ term)];
    words.iter().flat_map(|word| word.to_le_bytes()).cycle().take(32 + length).collect()
}

fn assert_sound(group: u64, entry: &Entry) {
    let expected = payload(group, entry.index, entry.term, entry.payload.len() - 32);
    assert!(entry.payload == expected, "group {group}: {entry:?} has other bytes");
}

/// A xorshift generator. The choices are reproducible, although the schedule is not.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Writes to `group` until `end`: mostly appends, overwrites of a suffix with a higher term, and compactions
/// that leave a few entries; now and then a later start or a removal. Returns the number of writes.
fn write(engine: &Engine, group: u64, end: Instant) -> u64 {
    let (mut rng, mut batch) = (Rng(group + 77), WriteBatch::new());
    let (mut point, mut last, mut term, mut writes) = (0, 0, 1, 0);
    while Instant::now() < end {
        match rng.below(100) {
            0..60 => {}
            60..75 => {
                term += 1;
                last -= rng.below(last - point + 1);
            }
            75..97 if last > point => {
                point = last - rng.below((last - point).min(8));
                batch.compact(group, point);
            }
            97 => {
                point = last + 1 + rng.below(3);
                last = point;
                batch.set_start(group, point, term);
            }
            98 => {
                batch.remove_group(group);
                (point, last) = (0, 0);
            }
            _ => {}
        }
        let count = 1 + rng.below(4);
        let payloads: Vec<_> = (last + 1..=last + count)
            .map(|index| payload(group, index, term, usize::try_from(rng.below(3000)).unwrap()))
            .collect();
        let entries: Vec<_> =
            (last + 1..).zip(&payloads).map(|(index, payload)| EntryRef { index, term, payload }).collect();
        batch.append(group, &entries);
        last += count;
        // Each batch writes this hard state again, so earlier copies of it are dead.
        batch.hard_state(group + 1000, HardState { term: 1, vote: 0, commit: 0 });
        let ticket = engine.write(&mut batch).expect("written");
        if rng.below(10) == 0 {
            ticket.wait().expect("durable");
        }
        writes += 1;
    }
    writes
}

/// Reads `group` until `stop` is set. Returns the number of entries read, and of reads whose entries were
/// gone.
fn read(engine: &Engine, group: u64, seed: u64, stop: &AtomicBool) -> (u64, u64) {
    let (mut rng, mut entries, mut gone) = (Rng(seed + 1), 0, 0);
    let handle = engine.group(group);
    while !stop.load(Ordering::Relaxed) {
        let (low, high) = (handle.first_index(), handle.last_index() + 1);
        // Sometimes the range begins with the entry that was compacted last.
        let low = low.saturating_sub(rng.below(2)).max(1);
        let limit = (rng.below(2) == 0).then(|| rng.below(10_000));
        match handle.entries(low, high.max(low), limit) {
            Ok(found) => {
                for (entry, index) in found.iter().zip(low..) {
                    assert_eq!(entry.index, index);
                    assert_sound(group, entry);
                }
                assert!(found.is_sorted_by_key(|entry| entry.term));
                assert!(limit.is_some() || found.len() as u64 == high.max(low) - low);
                entries += found.len() as u64;
            }
            // The entries were compacted, truncated or removed meanwhile.
            Err(Error::Compacted { .. } | Error::Unavailable { .. }) => gone += 1,
            Err(error) => panic!("group {group}, {low}..{high}: {error} ({error:?})"),
        }
    }
    (entries, gone)
}

fn seconds() -> Duration {
    let seconds = std::env::var("SEAWALL_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(2.0))
}

#[test]
fn readers_beside_overwrites_compactions_and_reused_files() {
    read_beside_writers(&small());
}

/// The payloads that readers get are in memory maps of files that the log wants to recycle.
#[test]
fn readers_of_maps_beside_overwrites_compactions_and_reused_files() {
    read_beside_writers(&small().with_map_sealed(true));
}

fn read_beside_writers(options: &Options) {
    let dir = TempDir::new().expect("a directory");
    let engine = Engine::create(dir.path().join("log"), options).expect("created");
    let (stop, end) = (AtomicBool::new(false), Instant::now() + seconds());
    let (writes, read_entries, gone) = thread::scope(|scope| {
        let (stop, engine) = (&stop, &engine);
        let readers: Vec<_> = (0..6).map(|n| scope.spawn(move || read(engine, 1 + n % 3, n, stop))).collect();
        let writers: Vec<_> = (1..=3).map(|group| scope.spawn(move || write(engine, group, end))).collect();
        let writes: u64 = writers.into_iter().map(|writer| writer.join().expect("a writer")).sum();
        stop.store(true, Ordering::Relaxed);
        let sums = readers.into_iter().map(|reader| reader.join().expect("a reader"));
        let (entries, gone) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (writes, entries, gone)
    });
    let (first, active) = engine.stats().expect("open").segments;
    println!("{writes} writes, {read_entries} entries read, {gone} gone, segments {first} to {active}");
    assert!(writes > 50 && read_entries > 100, "{writes} writes, {read_entries} entries");
    assert!(first > 3, "files were released while they were read: {first} to {active}");
    engine.close().expect("closed");
}

/// Tests that a read that pauses between two entries gets what was written, although its entries are
/// compacted and the log writes many segments meanwhile, and that the log releases the segments afterwards.
#[test]
fn a_reader_that_stands_still_keeps_its_bytes() {
    let dir = TempDir::new().expect("a directory");
    let engine = Engine::create(dir.path().join("log"), &small()).expect("created");
    let mut batch = WriteBatch::new();
    let put = |batch: &mut WriteBatch, group: u64, index: u64| {
        let payload = payload(group, index, 1, 5000);
        batch.append(group, &[EntryRef { index, term: 1, payload: &payload }]);
        engine.write(batch).expect("written").wait().expect("durable");
    };
    // The entries are spread over several segments, with another group's entries between them, so that no
    // disk read covers two at once.
    for index in 1..=40 {
        put(&mut batch, 1, index);
        put(&mut batch, 2, index);
    }
    let oldest = engine.stats().expect("open").segments.0;
    let stirred = AtomicU64::new(0);
    let found = engine.group(1).entries_with(1, 41, None, |entry| {
        if entry.index == 2 {
            // While the read pauses here, all its entries are compacted and the log writes segment after
            // segment.
            let mut batch = WriteBatch::new();
            batch.compact(1, 40).compact(2, 40);
            drop(engine.write(&mut batch).expect("written"));
            for index in 41..=160 {
                put(&mut batch, 2, index);
                batch.compact(2, index);
                drop(engine.write(&mut batch).expect("written"));
            }
            let (first, active) = engine.stats().expect("open").segments;
            assert_eq!(first, oldest, "held");
            stirred.store(u64::from(active - first), Ordering::Relaxed);
        }
        true
    });
    let found = found.expect("what was there when the read began");
    assert_eq!(found.len(), 40);
    found.iter().for_each(|entry| assert_sound(1, entry));
    assert!(stirred.load(Ordering::Relaxed) > 8);
    assert!(matches!(engine.group(1).entries(1, 41, None), Err(Error::Compacted { point: 40, .. })));

    for index in 161..=180 {
        put(&mut batch, 2, index);
        batch.compact(2, index);
        drop(engine.write(&mut batch).expect("written"));
    }
    let (first, active) = engine.stats().expect("open").segments;
    assert!(active - first <= 2, "old segments are kept: {first} to {active}");
}

/// Tests that payloads from a memory map do not change after their entries are compacted and their segment is
/// released.
#[test]
fn payloads_of_a_map_outlive_their_segment() {
    let dir = TempDir::new().expect("a directory");
    let options = small().with_map_sealed(true).with_compression(None);
    let engine = Engine::create(dir.path().join("log"), &options).expect("created");
    let mut batch = WriteBatch::new();
    let mut put = |index: u64| {
        let payload = payload(1, index, 1, 5000);
        batch.append(1, &[EntryRef { index, term: 1, payload: &payload }]);
        engine.write(&mut batch).expect("written").wait().expect("durable");
    };
    (1..=60).for_each(&mut put);
    let read = || engine.group(1).entries(1, 41, None).expect("entries");
    // After enough reads, the payloads come from maps: the same bytes at the same address.
    (0..8).for_each(|_| drop(read()));
    let (held, again) = (read(), read());
    let same = held.iter().zip(&again).filter(|(a, b)| a.payload.as_ptr() == b.payload.as_ptr()).count();
    assert!(same > 30, "only {same} of 40 were not copied");
    drop(again);
    let mut compact = WriteBatch::new();
    for index in 61..=200 {
        put(index);
        drop(engine.write(compact.compact(1, index - 1)).expect("written"));
    }
    let (first, active) = engine.stats().expect("open").segments;
    assert!(active - first <= 2 && first > 8, "released: {first} to {active}");
    held.iter().for_each(|entry| assert_sound(1, entry));
}
