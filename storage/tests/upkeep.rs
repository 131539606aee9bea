//! The engine's own work: small state is repeated in bounded pieces, none of them by a caller where the engine has a
//! thread; segments that are mostly padding get dense (INV-6, INV-8).

use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall::{Engine, EntryRef, HardState, Options, WriteBatch};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

const GROUPS: u64 = 10_000;
const WRITER: u64 = 1_000_000;

/// What a record of repeated small state takes at most: 64 KiB, and the piece that goes beyond them.
const PIECE_BYTES_MAX: u64 = 65 << 10;

fn options(segment_bytes: u32, slack_bytes: usize) -> Options {
    let mut options = Options { slack_bytes, compression: None, ..Options::default() };
    options.log.segment_bytes = segment_bytes;
    options
}

fn stepped(disk: &Arc<SimDisk>) -> Env {
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(3)));
    Env { disk: disk.process(), clock, random, threads: Threads::Stepped }
}

fn hard(group: u64) -> HardState {
    HardState { term: group + 1, vote: 1, commit: 0 }
}

/// A hard state of each of many groups, in the first segments.
fn many_groups(engine: &Engine) {
    let mut batch = WriteBatch::new();
    for chunk in 0..GROUPS / 500 {
        (0..500).for_each(|n| _ = batch.hard_state(chunk * 500 + n, hard(chunk * 500 + n)));
        engine.write(&mut batch).unwrap().wait().unwrap();
    }
}

fn append(engine: &Engine, bytes: usize) {
    let mut batch = WriteBatch::new();
    let index = engine.group(WRITER).last_index() + 1;
    batch.append(WRITER, &[EntryRef { index, term: 1, payload: &vec![7; bytes] }]);
    engine.write(&mut batch).unwrap().wait().unwrap();
    batch.compact(WRITER, index);
    engine.write(&mut batch).unwrap();
}

fn assert_all_there(engine: &Engine) {
    assert!((0..GROUPS).all(|group| engine.group(group).hard_state() == hard(group)));
}

#[test]
fn the_small_state_of_ten_thousand_groups_is_repeated_in_bounded_pieces() {
    let disk = SimDisk::new(1, SimOptions::default());
    let options = options(2 << 20, 1 << 30);
    let engine = Engine::create_in(stepped(&disk), &options).unwrap();
    many_groups(&engine);
    let until = engine.stats().unwrap().segments.1;
    let mut before = engine.stats().unwrap().restate;
    for n in 0.. {
        append(&engine, 20_000);
        let stats = engine.stats().unwrap();
        assert!(stats.restate.pieces - before.pieces <= 2, "a piece behind each of two writes");
        assert!(stats.restate.states - before.states <= 2 * 64, "{:?}", stats.restate);
        before = stats.restate;
        if stats.segments.0 > until {
            break;
        }
        assert!(n < 2000, "{stats:?}");
    }
    assert!(before.states >= GROUPS && before.piece_bytes_max <= PIECE_BYTES_MAX, "{before:?}");
    assert_all_there(&engine);
    drop(engine);
    disk.crash();
    let (engine, _) = Engine::open_in(stepped(&disk), &options).unwrap();
    assert_all_there(&engine);
}

#[test]
fn large_metadata_is_repeated_in_bounded_pieces_too() {
    let disk = SimDisk::new(1, SimOptions::default());
    let options = options(2 << 20, 1 << 30);
    let engine = Engine::create_in(stepped(&disk), &options).unwrap();
    let mut batch = WriteBatch::new();
    for group in 0..30 {
        (0..15).for_each(|key| _ = batch.put_meta(group, &[b'k', key], &[key; 4000]));
        engine.write(&mut batch).unwrap().wait().unwrap();
    }
    let until = engine.stats().unwrap().segments.1;
    while engine.stats().unwrap().segments.0 <= until {
        append(&engine, 50_000);
    }
    let restate = engine.stats().unwrap().restate;
    assert!(restate.states >= 450 && restate.piece_bytes_max <= PIECE_BYTES_MAX + 4000, "{restate:?}");
    assert!((0..30).all(|group| engine.group(group).metas().len() == 15));
}

#[test]
fn a_thread_of_the_engine_repeats_small_state_and_no_caller_has_to() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(2 << 20, 1 << 30);
    let engine = Engine::create(dir.path().join("log"), &options).unwrap();
    many_groups(&engine);
    let at = engine.stats().unwrap().segments.1;
    while engine.stats().unwrap().segments.1 <= at + 1 {
        append(&engine, 20_000);
    }
    // Nobody writes any more.
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = engine.stats().unwrap();
        assert!(stats.restate.piece_bytes_max <= PIECE_BYTES_MAX, "{:?}", stats.restate);
        if stats.restate.states >= GROUPS {
            break;
        }
        assert!(Instant::now() < end, "{:?}", stats.restate);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_all_there(&engine);
    engine.flush().unwrap();
    assert!(engine.stats().unwrap().segments.0 > at, "{:?}", engine.stats().unwrap().blocker);
    engine.close().unwrap();
    let (engine, _) = Engine::open(dir.path().join("log"), &options).unwrap();
    assert_all_there(&engine);
}

#[test]
fn segments_that_are_mostly_padding_get_dense() {
    let disk = SimDisk::new(1, SimOptions::default());
    let options = options(256 << 10, 512 << 10);
    let engine = Engine::create_in(stepped(&disk), &options).unwrap();
    let payload = |index: u64| index.to_le_bytes().repeat(30);
    let mut batch = WriteBatch::new();
    // One writer at a time, so each entry has a block of 4 KiB to itself.
    for index in 1..=2000 {
        batch.append(WRITER, &[EntryRef { index, term: 1, payload: &payload(index) }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
    }
    let stats = engine.stats().unwrap();
    let log_bytes = u64::from(stats.segments.1 - stats.segments.0 + 1) * (256 << 10);
    let live_bytes = 2000 * (240 + 64);
    assert!(log_bytes <= 2 * live_bytes + (512 << 10) + 3 * (256 << 10), "{log_bytes} for {live_bytes}");
    // As it would be without: a block each.
    assert!(log_bytes < 2000 * 4096 / 3);
    assert!(stats.rewrite.entries < 6 * 2000, "{:?}", stats.rewrite);
    let check = |engine: &Engine| {
        let entries = engine.group(WRITER).entries(1, 2001, None).unwrap();
        assert!(entries.len() == 2000 && entries.iter().all(|entry| entry.payload == payload(entry.index)));
    };
    check(&engine);
    drop(engine);
    disk.crash();
    check(&Engine::open_in(stepped(&disk), &options).unwrap().0);
}
