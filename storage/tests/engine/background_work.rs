//! Tests the engine's background work: it writes small state again in bounded pieces, makes segments dense
//! that are mostly padding, and frees a full disk without help (INV-6, INV-8).
//!
//! An engine with threads does this work on its own thread, so no caller has to do it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use seawall::{Engine, EntryRef, Error, HardState, Options, WriteBatch};
use seawall_wal::disk::clock::SystemClock;
use seawall_wal::disk::sim::{CallOp, HookDisk, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

use crate::simulated::stepped;

const GROUPS: u64 = 10_000;
const WRITER: u64 = 1_000_000;

/// Largest record of small state that is written again, in bytes: 64 KiB and the piece that exceeds them.
const PIECE_BYTES_MAX: u64 = 65 << 10;

fn options(segment_bytes: u32, slack_bytes: usize) -> Options {
    let mut options = Options::default().with_slack_bytes(slack_bytes).with_compression(None);
    options.log.segment_bytes = segment_bytes;
    options
}

fn hard(group: u64) -> HardState {
    HardState { term: group + 1, vote: 1, commit: 0 }
}

/// Writes a hard state of each of `GROUPS` groups, into the first segments.
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
    drop(engine.write(&mut batch).unwrap());
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
    let mut before = engine.stats().unwrap().reemit;
    for n in 0.. {
        append(&engine, 20_000);
        let stats = engine.stats().unwrap();
        assert!(stats.reemit.pieces - before.pieces <= 2, "a piece after each of two writes");
        assert!(stats.reemit.states - before.states <= 2 * 64, "{:?}", stats.reemit);
        before = stats.reemit;
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
    let reemit = engine.stats().unwrap().reemit;
    assert!(reemit.states >= 450 && reemit.piece_bytes_max <= PIECE_BYTES_MAX + 4000, "{reemit:?}");
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
    // From here on, no caller writes.
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = engine.stats().unwrap();
        assert!(stats.reemit.piece_bytes_max <= PIECE_BYTES_MAX, "{:?}", stats.reemit);
        if stats.reemit.states >= GROUPS {
            break;
        }
        assert!(Instant::now() < end, "{:?}", stats.reemit);
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
    // Each write waits for the one before it, so each entry takes a block of 4 KiB.
    for index in 1..=2000 {
        batch.append(WRITER, &[EntryRef { index, term: 1, payload: &payload(index) }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
    }
    let stats = engine.stats().unwrap();
    let log_bytes = u64::from(stats.segments.1 - stats.segments.0 + 1) * (256 << 10);
    let live_bytes = 2000 * (240 + 64);
    assert!(log_bytes <= 2 * live_bytes + (512 << 10) + 3 * (256 << 10), "{log_bytes} for {live_bytes}");
    // If no entry were copied, the log would keep a block for each of the 2000.
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

/// Counts the calls that the engine makes on its disk, so that a test can wait for the next one.
#[derive(Default)]
struct Calls {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Calls {
    /// Returns an environment with threads, on `disk`.
    fn env(self: &Arc<Calls>, disk: &SimDisk) -> Env {
        let calls = Arc::clone(self);
        let disk = HookDisk::new(disk.process(), move |_| {
            *calls.count.lock().unwrap() += 1;
            calls.changed.notify_all();
            Ok(())
        });
        let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SimRandom::new(3)));
        Env { disk, clock, random, threads: Threads::Spawned }
    }

    /// Calls `attempt` after each call on the disk until it returns a value.
    #[track_caller]
    fn until<T>(&self, mut attempt: impl FnMut() -> Option<T>, state: impl Fn() -> String) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let before = *self.count.lock().unwrap();
            if let Some(found) = attempt() {
                return found;
            }
            assert!(Instant::now() < end, "the engine makes no progress: {}", state());
            // A call is counted before it takes effect and may be the last one, so the wait also ends after
            // 20 ms.
            let same = |count: &mut u64| *count == before;
            let count = self.count.lock().unwrap();
            drop(self.changed.wait_timeout_while(count, Duration::from_millis(20), same).unwrap());
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
const SLOW: u64 = 1;

/// Appends the next entry of `group` with a payload of `bytes` bytes. Returns `None` if the disk is full.
fn try_append(engine: &Engine, group: u64, bytes: usize) -> Option<u64> {
    let (mut batch, index) = (WriteBatch::new(), engine.group(group).last_index() + 1);
    batch.append(group, &[EntryRef { index, term: 1, payload: &vec![7; bytes] }]);
    match engine.write(&mut batch) {
        Ok(ticket) => {
            ticket.wait().unwrap();
            Some(index)
        }
        Err(Error::Log(seawall_wal::Error::NoSpace { .. })) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Writes one entry of the slow group, fills the disk with entries of another group, and compacts that group.
fn fill_and_compact(engine: &Engine, bytes: usize) {
    if engine.group(SLOW).last_index() == 0 {
        try_append(engine, SLOW, bytes).unwrap();
    }
    while try_append(engine, WRITER, bytes).is_some() {}
    let mut batch = WriteBatch::new();
    batch.compact(WRITER, engine.group(WRITER).last_index());
    drop(engine.write(&mut batch).unwrap());
}

/// Payload sizes, from one that fits into a block to a third of a segment of 64 KiB.
const ENTRY_BYTES: [usize; 6] = [3000, 7000, 11_000, 15_000, 18_000, 21_000];

#[test]
fn a_full_disk_is_freed_by_itself_although_a_slow_group_has_an_entry_in_the_oldest_segment() {
    for (bytes, slack_bytes) in
        ENTRY_BYTES.into_iter().flat_map(|bytes| [(bytes, 256 << 10), (bytes, 1 << 30)])
    {
        let disk = SimDisk::new(1, SimOptions { capacity_bytes: Some(1 << 20), ..SimOptions::default() });
        let (calls, options) = (Arc::new(Calls::default()), options(64 << 10, slack_bytes));
        let engine = Engine::create_in(calls.env(&disk), &options).unwrap();
        for round in 0..3 {
            fill_and_compact(&engine, bytes);
            let state = || format!("{bytes} B, round {round}: {:?}", engine.stats().unwrap());
            calls.until(|| try_append(&engine, WRITER, bytes), state);
        }
        assert!(engine.stats().unwrap().rewrite.entries > 0);
        assert_eq!(engine.group(SLOW).entries(1, 2, None).unwrap()[0].payload, vec![7; bytes]);
        engine.close().unwrap();
    }
}

#[test]
fn a_full_disk_is_freed_after_a_reopen() {
    for bytes in ENTRY_BYTES {
        for closed in [true, false] {
            let disk = SimDisk::new(1, SimOptions { capacity_bytes: Some(1 << 20), ..SimOptions::default() });
            let (calls, options) = (Arc::new(Calls::default()), options(64 << 10, 256 << 10));
            let engine = Engine::create_in(calls.env(&disk), &options).unwrap();
            fill_and_compact(&engine, bytes);
            engine.flush().unwrap();
            if closed {
                let _ = engine.close();
            }
            drop(engine);
            let (engine, _) = Engine::open_in(calls.env(&disk), &options).unwrap();
            let state = || format!("{bytes} B, closed {closed}: {:?}", engine.stats().unwrap());
            calls.until(|| try_append(&engine, WRITER, bytes), state);
            assert_eq!(engine.group(SLOW).entries(1, 2, None).unwrap()[0].payload, vec![7; bytes]);
        }
    }
}

/// Fills 20 segments, in which only an entry of the slow group in the first one stays live.
fn long_and_dead(engine: &Engine) {
    try_append(engine, SLOW, 3000).unwrap();
    while engine.stats().unwrap().segments.1 < 20 {
        try_append(engine, WRITER, 7000).unwrap();
    }
    let mut batch = WriteBatch::new();
    batch.compact(WRITER, engine.group(WRITER).last_index());
    drop(engine.write(&mut batch).unwrap());
}

#[test]
fn a_compaction_alone_has_the_log_rewritten() {
    let disk = SimDisk::new(1, SimOptions::default());
    let calls = Arc::new(Calls::default());
    let engine = Engine::create_in(calls.env(&disk), &options(64 << 10, 256 << 10)).unwrap();
    long_and_dead(&engine);
    // From here on, no caller writes.
    let free = || (engine.stats().unwrap().segments.0 > 1).then_some(());
    calls.until(free, || format!("{:?}", engine.stats().unwrap()));
}

#[test]
fn an_open_alone_has_the_log_rewritten() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options(64 << 10, 1 << 30)).unwrap();
    long_and_dead(&engine);
    engine.close().unwrap();
    let calls = Arc::new(Calls::default());
    let (engine, _) = Engine::open_in(calls.env(&disk), &options(64 << 10, 256 << 10)).unwrap();
    let free = || (engine.stats().unwrap().segments.0 > 1).then_some(());
    calls.until(free, || format!("{:?}", engine.stats().unwrap()));
}

/// Blocks the engine's background thread in a read of a file while the gate is closed.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    inside: bool,
}

impl Gate {
    /// Returns an environment with threads, on `disk`.
    fn env(self: &Arc<Gate>, disk: &SimDisk) -> Env {
        let gate = Arc::clone(self);
        let disk = HookDisk::new(disk.process(), move |call| {
            if call.op == CallOp::Read && std::thread::current().name() == Some("seawall-reclaim") {
                gate.pass();
            }
            Ok(())
        });
        let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SimRandom::new(3)));
        Env { disk, clock, random, threads: Threads::Spawned }
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        if !state.closed {
            return;
        }
        state.inside = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.closed).unwrap());
        // Gives a caller that wrongly does not wait for this thread the time to return before `inside` is
        // cleared.
        (0..1000).for_each(|_| std::thread::yield_now());
        self.state.lock().unwrap().inside = false;
    }

    fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }

    fn open(&self) {
        self.state.lock().unwrap().closed = false;
        self.changed.notify_all();
    }

    /// Waits until the closed gate blocks the engine's thread.
    #[track_caller]
    fn wait_inside(&self) {
        let state = self.state.lock().unwrap();
        let (state, wait) = self.changed.wait_timeout_while(state, PATIENCE, |state| !state.inside).unwrap();
        drop(state);
        assert!(!wait.timed_out(), "nothing is copied");
    }

    fn is_inside(&self) -> bool {
        self.state.lock().unwrap().inside
    }
}

#[test]
fn payloads_do_not_take_the_room_that_is_left_for_freeing_a_full_disk() {
    let disk = SimDisk::new(1, SimOptions { capacity_bytes: Some(1 << 20), ..SimOptions::default() });
    let gate = Arc::new(Gate::default());
    let options = options(64 << 10, 256 << 10).with_cache_bytes(0);
    let engine = Engine::create_in(gate.env(&disk), &options).unwrap();
    try_append(&engine, SLOW, 21_000).unwrap();
    gate.close();
    fill_and_compact(&engine, 3000);
    gate.wait_inside();
    // The engine is about to copy the slow group's entry. Meanwhile the other group writes what still fits.
    while try_append(&engine, WRITER, 3000).is_some() {}
    gate.open();
    let end = Instant::now() + PATIENCE;
    while try_append(&engine, WRITER, 3000).is_none() {
        assert!(Instant::now() < end, "the engine makes no progress: {:?}", engine.stats().unwrap());
        std::thread::yield_now();
    }
    assert_eq!(engine.group(SLOW).entries(1, 2, None).unwrap()[0].payload.len(), 21_000);
}

#[test]
fn dropping_the_last_handle_waits_for_the_engines_thread_and_releases_the_directory() {
    for last in ["engine", "group", "reader"] {
        let disk = SimDisk::new(1, SimOptions::default());
        let gate = Arc::new(Gate::default());
        let options = options(64 << 10, 0).with_cache_bytes(0);
        let engine = Engine::create_in(gate.env(&disk), &options).unwrap();
        gate.close();
        try_append(&engine, SLOW, 3000).unwrap();
        for _ in 0..20 {
            let index = try_append(&engine, WRITER, 15_000).unwrap();
            let mut batch = WriteBatch::new();
            batch.compact(WRITER, index);
            drop(engine.write(&mut batch).unwrap());
        }
        // The engine is about to copy the slow group's entry.
        gate.wait_inside();
        let (group, reader) = (engine.group(SLOW), engine.group(SLOW).pin(1, 2).unwrap());
        let handle: Box<dyn std::any::Any> = match last {
            "engine" => Box::new((engine, drop((group, reader)))),
            "group" => Box::new((group, drop((engine, reader)))),
            _ => Box::new((reader, drop((engine, group)))),
        };
        gate.open();
        drop(handle);
        assert!(!gate.is_inside(), "{last}: the engine's thread is still working");
        let (engine, _) = Engine::open_in(gate.env(&disk), &options).expect("the directory is free");
        assert_eq!(engine.group(SLOW).entries(1, 2, None).unwrap().len(), 1);
    }
}
