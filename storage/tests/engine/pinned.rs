//! Tests that a pinned reader reads its range as it was when the reader was made, that it does not keep the
//! log's prefix, and that the statistics name what does (INV-6, INV-8).

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use seawall::{
    Compression, Engine, Entry, EntryRef, Error, HardState, Options, PinnedReader, WriteBatch,
    stats::BlockedBy,
};
use seawall_wal::disk::sim::{SimDisk, SimOptions};

use crate::simulated::stepped;

const SLOW: u64 = 1;
const FAST: u64 = 2;

fn options(slack_bytes: usize) -> Options {
    let compression = Some(Compression { from_bytes: 2000, level: 1 });
    let mut options =
        Options::default().with_slack_bytes(slack_bytes).with_cache_bytes(4000).with_compression(compression);
    options.log.segment_bytes = 48 << 10;
    options
}

fn new(slack_bytes: usize) -> (Arc<SimDisk>, Engine) {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(slack_bytes)).unwrap();
    (disk, engine)
}

fn payload(group: u64, index: u64, term: u64) -> Vec<u8> {
    let length = usize::try_from(index * 97 % 3000).unwrap();
    [group, index, term].map(u64::to_le_bytes).concat().into_iter().cycle().take(length).collect()
}

fn append(engine: &Engine, group: u64, index: u64, term: u64) {
    let mut batch = WriteBatch::new();
    batch.append(group, &[EntryRef { index, term, payload: &payload(group, index, term) }]);
    engine.write(&mut batch).unwrap().wait().unwrap();
}

/// Appends `count` entries to the fast group and compacts all but the last one.
fn go_on(engine: &Engine, count: u64) {
    for _ in 0..count {
        let index = engine.group(FAST).last_index() + 1;
        append(engine, FAST, index, 1);
        let mut batch = WriteBatch::new();
        batch.compact(FAST, index - 1);
        if index > 1 && engine.group(FAST).first_index() < index {
            drop(engine.write(&mut batch).unwrap());
        }
    }
}

fn segments(engine: &Engine) -> (u32, u32) {
    engine.stats().unwrap().segments
}

/// Reads to the end, about `max_bytes` per call.
fn read_all(reader: &mut PinnedReader, max_bytes: Option<u64>) -> Vec<Entry> {
    let mut all = Vec::new();
    loop {
        let next = reader.read(max_bytes).unwrap();
        if next.is_empty() {
            return all;
        }
        let bytes: usize = next.iter().map(|entry| entry.payload.len()).sum();
        assert!(next.len() == 1 || max_bytes.is_none_or(|max| bytes as u64 <= max));
        all.extend(next);
        assert_eq!(reader.range().0, all.last().unwrap().index + 1);
    }
}

fn assert_sound(entries: &[Entry], low: u64, high: u64, term: u64) {
    assert_eq!(entries.iter().map(|e| e.index).collect::<Vec<_>>(), (low..high).collect::<Vec<_>>());
    let sound = |e: &Entry| e.term == term && e.payload == payload(SLOW, e.index, term);
    assert!(entries.iter().all(sound));
}

#[test]
fn a_reader_has_its_range_whatever_becomes_of_the_group() {
    type Act = fn(&mut WriteBatch);
    let acts: [Act; 4] = [
        |batch| _ = batch.compact(SLOW, 40),
        |batch| _ = batch.append(SLOW, &[EntryRef { index: 1, term: 9, payload: b"other" }]),
        |batch| _ = batch.set_start(SLOW, 90, 9),
        |batch| _ = batch.remove_group(SLOW),
    ];
    for act in acts {
        for max_bytes in [None, Some(0), Some(5000)] {
            let (_disk, engine) = new(1 << 30);
            for index in 1..=40 {
                append(&engine, SLOW, index, 1);
                go_on(&engine, 1);
            }
            let mut reader = engine.group(SLOW).pin(3, 41).unwrap();
            let first = reader.read(Some(20_000)).unwrap();
            let read = first.len() as u64;
            assert!(read > 1 && read < 30);
            // The operation below is in a later segment.
            go_on(&engine, 20);
            let mut batch = WriteBatch::new();
            act(&mut batch);
            batch.sync();
            engine.write(&mut batch).unwrap().wait().unwrap();
            let before = segments(&engine);
            go_on(&engine, 200);
            let after = segments(&engine);
            assert!(after.0 >= before.1, "the reader keeps the log: {before:?}, then {after:?}");
            let stats = engine.stats().unwrap();
            let [shown] = &stats.readers[..] else { panic!("{:?}", stats.readers) };
            assert_eq!((shown.group, shown.next, shown.high), (SLOW, 3 + read, 41));
            assert!(shown.segments.len() > 1);
            assert_eq!(shown.held_bytes, shown.segments.len() as u64 * (48 << 10));

            let rest = read_all(&mut reader, max_bytes);
            assert_sound(&[first, rest].concat(), 3, 41, 1);
            assert!(reader.read(None).unwrap().is_empty());
            assert!(
                engine.stats().unwrap().readers[0].segments.is_empty(),
                "the reader keeps no segment that it has read"
            );
            drop(reader);
            assert!(engine.stats().unwrap().readers.is_empty());
        }
    }
}

#[test]
fn copies_out_of_order_are_read_in_order() {
    let (_disk, engine) = new(0);
    for index in 1..=30 {
        append(&engine, SLOW, index, 1);
        if index % 3 == 0 {
            // Copies of the first entries come after later entries in the log.
            go_on(&engine, 9);
        }
    }
    assert!(engine.stats().unwrap().rewrite.entries > 20);
    for max_bytes in [None, Some(0), Some(7000)] {
        let mut reader = engine.group(SLOW).pin(1, 31).unwrap();
        let mut same = engine.group(SLOW).pin(1, 31).unwrap();
        assert_sound(&read_all(&mut same, max_bytes), 1, 31, 1);
        // Everything that the reader points to is copied again, and the log has released its segments.
        let until = segments(&engine).1;
        while segments(&engine).0 <= until {
            go_on(&engine, 10);
        }
        assert_sound(&read_all(&mut reader, max_bytes), 1, 31, 1);
    }
}

#[test]
fn a_reader_is_refused_what_a_read_is_refused() {
    let (_disk, engine) = new(0);
    (1..=9).for_each(|index| append(&engine, SLOW, index, 1));
    let mut batch = WriteBatch::new();
    batch.compact(SLOW, 4);
    drop(engine.write(&mut batch).unwrap());
    let group = engine.group(SLOW);
    assert!(matches!(group.pin(4, 6), Err(Error::Compacted { index: 4, point: 4, .. })));
    assert!(matches!(group.pin(5, 11), Err(Error::Unavailable { index: 10, last_index: 9, .. })));
    assert!(matches!(group.pin(7, 6), Err(Error::Range { .. })));
    assert!(matches!(engine.group(99).pin(1, 2), Err(Error::Unavailable { .. })));
    assert!(group.pin(5, 5).unwrap().read(None).unwrap().is_empty());
    assert!(engine.stats().unwrap().readers.is_empty());
    let mut reader = group.pin(5, 10).unwrap();
    engine.close().unwrap();
    assert!(matches!(reader.read(None), Err(Error::Closed)));
}

#[test]
fn a_damaged_entry_stops_a_reader_and_no_other_bytes_come_out() {
    let (disk, engine) = new(1 << 30);
    (1..=20).for_each(|index| append(&engine, SLOW, index, 1));
    let mut reader = engine.group(SLOW).pin(1, 21).unwrap();
    let wanted = payload(SLOW, 7, 1);
    let (name, at) = disk
        .names()
        .into_iter()
        .find_map(|name| {
            let at = disk.read_file(&name).windows(wanted.len()).position(|bytes| bytes == wanted)?;
            Some((name, at))
        })
        .unwrap();
    disk.corrupt(&name, at + 100, |bytes| bytes[0] ^= 1);
    let before = reader.read(None).unwrap();
    assert_sound(&before, 1, reader.range().0, 1);
    let error = std::iter::repeat_with(|| reader.read(Some(0))).find_map(Result::err).unwrap();
    assert!(matches!(error, Error::DamagedEntry { group: SLOW, index: 7, term: 1, .. }), "{error}");
    assert_eq!(reader.range(), (7, 21));
}

#[test]
fn what_keeps_the_log_is_named() {
    let (_disk, engine) = new(1 << 30);
    assert_eq!(engine.stats().unwrap().blocker, None);
    append(&engine, SLOW, 1, 1);
    append(&engine, SLOW, 2, 1);
    let mut batch = WriteBatch::new();
    batch.compact(SLOW, 1);
    drop(engine.write(&mut batch).unwrap());
    go_on(&engine, 100);
    let (first, active) = segments(&engine);
    let blocker = engine.stats().unwrap().blocker.unwrap();
    assert_eq!((blocker.segment, blocker.by), (first, BlockedBy::Entry { group: SLOW, index: 2 }));
    assert_eq!((blocker.entries, blocker.states), (1, 1), "the entry, and the compaction point");
    assert_eq!(blocker.held_bytes, u64::from(active - first) * (48 << 10));
    assert!((194..400).contains(&blocker.live_bytes), "{blocker:?}");

    // A read under way is named as a call, once nothing else keeps its segment.
    let mut seen = None;
    engine
        .group(SLOW)
        .entries_with(2, 3, None, |_| {
            batch.compact(SLOW, 2);
            drop(engine.write(&mut batch).unwrap());
            go_on(&engine, 10);
            seen = engine.stats().unwrap().blocker;
            true
        })
        .unwrap();
    let seen = seen.unwrap();
    assert_eq!((seen.segment, seen.entries), (first, 0));
    assert_eq!(
        (seen.states, seen.by),
        (0, BlockedBy::Call),
        "the new compaction point is in a later segment"
    );
}

#[test]
fn small_state_that_keeps_the_log_is_named() {
    let disk = SimDisk::new(1, SimOptions::default());
    // Each write copies the state of one group only, so the test can observe the state of the others.
    let options = options(1 << 30).with_reemit_groups_max(1);
    let engine = Engine::create_in(stepped(&disk), &options).unwrap();
    let mut batch = WriteBatch::new();
    (11..=40).for_each(|group| _ = batch.hard_state(group, HardState { term: 1, vote: 1, commit: 0 }));
    engine.write(&mut batch).unwrap().wait().unwrap();
    let at = segments(&engine).1;
    while segments(&engine).1 == at {
        go_on(&engine, 1);
    }
    // The entry of the fast group is now in a later segment, too.
    go_on(&engine, 1);
    let mut before = 31;
    for _ in 0..10 {
        let blocker = engine.stats().unwrap().blocker.unwrap();
        assert_eq!((blocker.segment, blocker.entries), (at, 0), "{blocker:?}");
        assert!(blocker.states > 0 && blocker.states < before, "{blocker:?}");
        let BlockedBy::State { group } = blocker.by else { panic!("{blocker:?}") };
        assert!((11..=40).contains(&group), "{blocker:?}");
        before = blocker.states;
        go_on(&engine, 1);
    }
    go_on(&engine, 30);
    assert!(segments(&engine).0 > at, "{:?}", engine.stats().unwrap().blocker);
}

/// Tests a log of 2,000 segments in a process that may have 256 descriptors: it is created, written, opened
/// again and read in mixed order, and a pinned reader reads all of it while it is compacted and its segments
/// are released.
#[test]
fn two_thousand_segments_below_a_limit_of_256() {
    const DIR: &str = "SEAWALL_TWO_THOUSAND_SEGMENTS";
    if let Some(dir) = std::env::var_os(DIR) {
        return two_thousand_segments(Path::new(&dir));
    }
    // Uses a directory in memory if there is one, because there are thousands of syncs.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let script =
        "ulimit -n 256 && exec \"$0\" --exact pinned::two_thousand_segments_below_a_limit_of_256 --nocapture";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(std::env::current_exe().unwrap()).env(DIR, dir.path());
    let done = shell.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn two_thousand_segments(dir: &Path) {
    const ENTRIES: u64 = 2000;
    let mut options = Options::default().with_slack_bytes(1 << 40).with_cache_bytes(0).with_compression(None);
    options.log.segment_bytes = 24 << 10;
    // A segment of this size holds one such payload.
    let payload = |index: u64| index.to_le_bytes().repeat(9000 / 8);
    let write = |engine: &Engine, group, index| {
        let mut batch = WriteBatch::new();
        batch.append(group, &[EntryRef { index, term: 1, payload: &payload(index) }]);
        if group == FAST && index > 1 {
            batch.compact(FAST, index - 1);
        }
        batch.sync();
        engine.write(&mut batch).unwrap()
    };
    let check = |engine: &Engine| {
        for index in (0..ENTRIES).map(|i| i * 7919 % ENTRIES + 1) {
            let entries = engine.group(SLOW).entries(index, index + 1, None).unwrap();
            assert_eq!(entries[0].payload, payload(index), "entry {index}");
        }
    };
    let dir = &dir.join("log");
    let files = || std::fs::read_dir(dir).unwrap().count();
    let engine = Engine::create(dir, &options).unwrap();
    for index in 1..=ENTRIES {
        drop(write(&engine, SLOW, index));
    }
    engine.flush().unwrap();
    let (first, active) = segments(&engine);
    assert!(u64::from(active - first) >= ENTRIES - 1, "{first} to {active}");
    check(&engine);
    engine.close().unwrap();

    let (engine, _) = Engine::open(dir, &options).unwrap();
    check(&engine);
    let mut reader = engine.group(SLOW).pin(1, ENTRIES + 1).unwrap();
    let mut batch = WriteBatch::new();
    batch.compact(SLOW, ENTRIES);
    drop(engine.write(&mut batch).unwrap());
    let mut read = Vec::new();
    for index in 1..=500 {
        write(&engine, FAST, index).wait().unwrap();
        read.extend(reader.read(Some(9000 * 3)).unwrap());
    }
    assert!(segments(&engine).0 > active, "all of it is compacted");
    assert!(read.len() < 2000 && read.len() > 1000, "{}", read.len());
    read.extend(read_all(&mut reader, None));
    assert_eq!(read.iter().map(|entry| entry.index).collect::<Vec<_>>(), (1..=ENTRIES).collect::<Vec<_>>());
    assert!(read.iter().all(|entry| entry.payload == payload(entry.index)));
    drop(reader);
    engine.close().unwrap();
    assert!(files() < 100, "{} files are left", files());
    let (engine, _) = Engine::open(dir, &options).unwrap();
    assert_eq!(engine.group(FAST).entries(500, 501, None).unwrap()[0].payload, payload(500));
}
