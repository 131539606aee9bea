//! Groups that hardly write do not keep the log: what lives in its oldest segments is copied to its end. What
//! does not check is not copied, and stays an error (INV-5, INV-6, INV-8).

use seawall::{Engine, EntryRef, Error, Options, WriteBatch};
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};
use std::sync::Arc;
use std::time::Duration;

const SEGMENT: u32 = 48 << 10;
const SLOW: std::ops::Range<u64> = 1..6;
const FAST: u64 = 100;

fn options(slack_bytes: usize) -> Options {
    let mut options = Options { slack_bytes, cache_bytes: 0, ..Options::default() };
    options.log.segment_bytes = SEGMENT;
    options
}

fn stepped(disk: &Arc<SimDisk>) -> Env {
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(3)));
    Env { disk: disk.process(), clock, random, threads: Threads::Stepped }
}

fn payload(group: u64, index: u64) -> Vec<u8> {
    [group, index].map(u64::to_le_bytes).concat().repeat(60)
}

/// Appends entry `index` and waits for it.
fn append(engine: &Engine, group: u64, index: u64) {
    let mut batch = WriteBatch::new();
    batch.append(group, &[EntryRef { index, term: 1 + index / 4, payload: &payload(group, index) }]);
    engine.write(&mut batch).unwrap().wait().unwrap();
}

/// Ten entries of each slow group, mixed.
fn fill(engine: &Engine) {
    (1..=10).for_each(|index| SLOW.for_each(|group| append(engine, group, index)));
}

/// A fast group goes on, and keeps next to nothing.
fn go_on(engine: &Engine, from: u64, to: u64) {
    for index in from..to {
        append(engine, FAST, index);
        if index > 4 {
            let mut batch = WriteBatch::new();
            batch.compact(FAST, index - 2);
            engine.write(&mut batch).unwrap();
        }
    }
}

fn assert_whole(engine: &Engine, but: &[(u64, u64)]) {
    for group in SLOW {
        for index in 1..=10 {
            let found = engine.group(group).entries(index, index + 1, None);
            if but.contains(&(group, index)) {
                let Err(Error::DamagedEntry { group: g, index: i, term, .. }) = found else {
                    panic!("{found:?}")
                };
                assert_eq!((g, i, term), (group, index, 1 + index / 4));
            } else {
                assert_eq!(found.unwrap()[0].payload, payload(group, index), "{group}: {index}");
                assert_eq!(engine.group(group).term(index).unwrap(), 1 + index / 4);
            }
        }
    }
}

#[test]
fn slow_groups_do_not_keep_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (path, options) = (dir.path().join("log"), options(64 << 10));
    let engine = Engine::create(&path, &options).unwrap();
    fill(&engine);
    go_on(&engine, 1, 300);
    // The engine's thread does it, in its own time.
    let mut index = 300;
    let span = |engine: &Engine| {
        let (from, to) = engine.stats().unwrap().segments;
        to - from
    };
    while span(&engine) > 8 {
        assert!(index < 20_000, "the log is still {} segments long", span(&engine));
        go_on(&engine, index, index + 10);
        index += 10;
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = engine.stats().unwrap().rewrite;
    assert!(stats.entries >= 50 && stats.bytes >= 50 * 960 && stats.stuck.is_none(), "{stats:?}");
    assert_whole(&engine, &[]);
    engine.close().unwrap();
    for verify_on_open in [false, true] {
        let mut options = options.clone();
        options.log.verify_on_open = verify_on_open;
        let (engine, _) = Engine::open(&path, &options).unwrap();
        assert_whole(&engine, &[]);
        engine.close().unwrap();
    }
}

#[test]
fn entries_that_moved_obey_what_comes_behind_them() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(0)).unwrap();
    fill(&engine);
    go_on(&engine, 1, 200);
    assert!(engine.stats().unwrap().rewrite.entries >= 50);
    let mut batch = WriteBatch::new();
    let entry = |index, payload| EntryRef { index, term: 9, payload };
    batch.append(1, &[entry(4, b"other")]).compact(2, 7).remove_group(3).set_start(4, 20, 9);
    engine.write(&mut batch).unwrap().wait().unwrap();
    go_on(&engine, 200, 400);
    let shown = |engine: &Engine| {
        let of = |group| {
            let log = engine.group(group);
            let (first, end) = (log.first_index(), log.last_index() + 1);
            format!("{group}: {first}..{end} {:?}", log.entries(first, end, None).unwrap())
        };
        SLOW.map(of).collect::<Vec<_>>()
    };
    let before = shown(&engine);
    assert!(before[0].starts_with("1: 1..5 ") && before[1].starts_with("2: 8..11 "), "{before:?}");
    assert!(before[2].starts_with("3: 1..1 ") && before[3].starts_with("4: 21..21 "), "{before:?}");
    assert_eq!(engine.group(1).entries(4, 5, None).unwrap()[0].payload, b"other"[..]);
    drop(engine);
    for n in 0..3 {
        disk.crash();
        let (engine, _) = Engine::open_in(stepped(&disk), &options(0)).unwrap();
        assert_eq!(shown(&engine), before, "life {n}");
        let next = engine.group(FAST).last_index() + 1;
        go_on(&engine, next, next + 100);
        assert_eq!(shown(&engine), before, "life {n}");
    }
}

#[test]
fn what_does_not_check_is_not_copied() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(1 << 30)).unwrap();
    fill(&engine);
    engine.close().unwrap();
    let (engine, _) = Engine::open_in(stepped(&disk), &options(0)).unwrap();
    let wanted = payload(2, 3);
    let mut names = disk.names().into_iter().filter(|name| name.ends_with(".wal"));
    let (name, at) = names
        .find_map(|name| {
            let at = disk.read_file(&name).windows(wanted.len()).position(|bytes| bytes == wanted)?;
            Some((name, at))
        })
        .expect("the payload is on the disk");
    disk.corrupt(&name, at + 100, |bytes| bytes[0] ^= 1);
    go_on(&engine, 1, 300);
    let stuck = engine.stats().unwrap().rewrite.stuck;
    assert!(matches!(stuck, Some((_, Error::DamagedEntry { group: 2, index: 3, .. }))), "{stuck:?}");
    assert_whole(&engine, &[(2, 3)]);
    let kept = engine.stats().unwrap().segments;
    assert!(kept.1 - kept.0 > 8, "the segment of the damaged entry stays: {kept:?}");
    // It is compacted, and keeps nothing any more.
    let mut batch = WriteBatch::new();
    batch.compact(2, 3);
    engine.write(&mut batch).unwrap();
    go_on(&engine, 300, 400);
    let kept = engine.stats().unwrap().segments;
    assert!(kept.1 - kept.0 <= 8, "{kept:?}");
}

#[test]
fn what_cannot_be_read_for_copying_does_not_keep_what_was_written_from_the_disk() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(1 << 30)).unwrap();
    fill(&engine);
    engine.close().unwrap();
    let (engine, _) = Engine::open_in(stepped(&disk), &options(0)).unwrap();
    disk.fail(FaultRule::forever(FaultOp::Read, 1, FaultError::Io));
    go_on(&engine, 1, 60);
    let mut batch = WriteBatch::new();
    batch.append(FAST, &[EntryRef { index: 60, term: 16, payload: b"written, not waited for" }]);
    let ticket = engine.write(&mut batch).unwrap();
    engine.flush().expect("copying is another matter");
    assert!(ticket.is_durable(), "durable");
    disk.clear_faults();
    assert_whole(&engine, &[]);
}

#[test]
fn the_largest_entries_move_too() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(0)).unwrap();
    let largest = vec![7; engine.entry_bytes_max().unwrap()];
    let mut batch = WriteBatch::new();
    for index in 1..=3 {
        let payload = if index == 2 { &b"small"[..] } else { &largest };
        batch.append(1, &[EntryRef { index, term: 1, payload }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
    }
    go_on(&engine, 1, 400);
    let stats = engine.stats().unwrap();
    assert!(stats.segments.1 - stats.segments.0 < 12, "{stats:?}");
    assert!(stats.rewrite.entries >= 3 && stats.rewrite.stuck.is_none(), "{stats:?}");
    let found = engine.group(1).entries(1, 4, None).unwrap();
    assert_eq!(found.iter().map(|e| e.payload.len()).collect::<Vec<_>>(), [largest.len(), 5, largest.len()]);
}
