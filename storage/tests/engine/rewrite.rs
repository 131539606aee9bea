//! Tests that the engine copies live entries out of the oldest segments, so that groups that seldom write do
//! not keep the log, and that it does not copy an entry that fails its checksum (INV-5, INV-6, INV-8).

use seawall::{Engine, EntryRef, Error, Listener, Options, WriteBatch, stats::RewriteStats};
use seawall_wal::disk::sim::{Call, CallOp, FaultError, FaultOp, FaultRule, HookDisk, SimDisk, SimOptions};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::simulated::stepped;

const SEGMENT: u32 = 48 << 10;
const SLOW: std::ops::Range<u64> = 1..6;
const FAST: u64 = 100;

fn options(slack_bytes: usize) -> Options {
    let mut options = Options::default().with_slack_bytes(slack_bytes).with_cache_bytes(0);
    options.log.segment_bytes = SEGMENT;
    options
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

/// Appends ten entries to each slow group, in turn.
fn fill(engine: &Engine) {
    (1..=10).for_each(|index| SLOW.for_each(|group| append(engine, group, index)));
}

/// Appends the entries `from..to` to the fast group and compacts all but the last two.
fn go_on(engine: &Engine, from: u64, to: u64) {
    for index in from..to {
        append(engine, FAST, index);
        if index > 4 {
            let mut batch = WriteBatch::new();
            batch.compact(FAST, index - 2);
            drop(engine.write(&mut batch).unwrap());
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
    // The engine's thread copies the entries at its own pace.
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

/// A listener that records the segments that the engine reports as stuck.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(u32, String)>>);

impl seawall_wal::Listener for Told {}

impl Listener for Told {
    fn segment_stuck(&self, segment: u32, error: &Error) {
        self.0.lock().unwrap().push((segment, error.to_string()));
    }
}

impl Told {
    fn of(engine: &Engine) -> Arc<Told> {
        let told = Arc::<Told>::default();
        engine.set_listener(Arc::clone(&told) as Arc<dyn Listener>).unwrap();
        told
    }
}

fn figures(engine: &Engine) -> RewriteStats {
    engine.stats().unwrap().rewrite
}

/// Returns the file and the offset of the first occurrence of `wanted`.
fn find(disk: &SimDisk, wanted: &[u8]) -> (String, usize) {
    let mut names = disk.names().into_iter().filter(|name| name.ends_with(".wal"));
    let in_file = |name: String| {
        let at = disk.read_file(&name).windows(wanted.len()).position(|bytes| bytes == wanted)?;
        Some((name, at))
    };
    names.find_map(in_file).expect("the payload is on the disk")
}

fn damage(disk: &SimDisk, wanted: &[u8]) {
    let (name, at) = find(disk, wanted);
    disk.corrupt(&name, at + wanted.len() / 2, |bytes| bytes[0] ^= 1);
}

/// Returns an engine with the entries of `fill`, opened with options that make it copy them.
fn filled(disk: &Arc<SimDisk>) -> Engine {
    let engine = Engine::create_in(stepped(disk), &options(1 << 30)).unwrap();
    fill(&engine);
    engine.close().unwrap();
    Engine::open_in(stepped(disk), &options(0)).unwrap().0
}

#[test]
fn what_does_not_check_is_not_copied() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = filled(&disk);
    damage(&disk, &payload(2, 3));
    go_on(&engine, 1, 300);
    let stuck = engine.stats().unwrap().rewrite.stuck;
    assert!(matches!(stuck, Some((_, Error::DamagedEntry { group: 2, index: 3, .. }))), "{stuck:?}");
    assert_whole(&engine, &[(2, 3)]);
    let kept = engine.stats().unwrap().segments;
    assert!(kept.1 - kept.0 > 8, "the segment of the damaged entry stays: {kept:?}");
    // Once the damaged entry is compacted, it no longer keeps the log.
    let mut batch = WriteBatch::new();
    batch.compact(2, 3);
    drop(engine.write(&mut batch).unwrap());
    go_on(&engine, 300, 400);
    let kept = engine.stats().unwrap().segments;
    assert!(kept.1 - kept.0 <= 8, "{kept:?}");
}

#[test]
fn what_cannot_be_read_for_copying_does_not_keep_what_was_written_from_the_disk() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = filled(&disk);
    disk.fail(FaultRule::forever(FaultOp::Read, 1, FaultError::Io));
    go_on(&engine, 1, 60);
    let mut batch = WriteBatch::new();
    batch.append(FAST, &[EntryRef { index: 60, term: 16, payload: b"written, not waited for" }]);
    let ticket = engine.write(&mut batch).unwrap();
    engine.flush().expect("a failed copy does not fail the flush");
    assert!(ticket.is_durable(), "durable");
    let stuck = figures(&engine).stuck;
    assert!(matches!(stuck, Some((1, Error::UnreadableEntry { .. }))), "{stuck:?}");
    disk.clear_faults();
    assert_whole(&engine, &[]);
    // The entries can be read again, and are copied when the log enters the next segment.
    go_on(&engine, 61, 200);
    let stats = engine.stats().unwrap();
    assert!(stats.rewrite.stuck.is_none() && stats.rewrite.entries >= 50, "{:?}", stats.rewrite);
    assert!(stats.segments.1 - stats.segments.0 <= 8, "{stats:?}");
    assert_whole(&engine, &[]);
}

#[test]
fn a_sector_that_cannot_be_read_is_named_and_keeps_no_other_entry() {
    let disk = SimDisk::new(1, SimOptions::default());
    drop(filled(&disk));
    let (name, at) = find(&disk, &payload(2, 3));
    let block = u64::try_from(at / 4096 * 4096).unwrap();
    let bad = Arc::new(AtomicBool::new(true));
    let is_bad = Arc::clone(&bad);
    let hook = move |call: Call<'_>| {
        let hit =
            call.op == CallOp::Read && call.name == name && (block..block + 4096).contains(&call.offset);
        if hit && is_bad.load(Ordering::Relaxed) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    };
    let mut env = stepped(&disk);
    bad.store(false, Ordering::Relaxed);
    env.disk = HookDisk::new(env.disk, hook);
    let (engine, _) = Engine::open_in(env, &options(0)).unwrap();
    bad.store(true, Ordering::Relaxed);
    let told = Told::of(&engine);
    go_on(&engine, 1, 300);
    let stats = engine.stats().unwrap();
    let (segment, error) = stats.rewrite.stuck.expect("named");
    assert!(matches!(error, Error::UnreadableEntry { group: 2, index: 3, term: 1, .. }), "{error}");
    assert_eq!(*told.0.lock().unwrap(), [(segment, error.to_string())], "once");
    let blocker = stats.blocker.unwrap();
    assert_eq!((blocker.segment, blocker.entries), (segment, 1), "everything else was copied: {blocker:?}");
    assert_eq!(stats.segments.0, segment, "the segments before it are released");
    // The sector can be read again.
    bad.store(false, Ordering::Relaxed);
    go_on(&engine, 300, 400);
    let stats = engine.stats().unwrap();
    assert!(stats.rewrite.stuck.is_none() && stats.segments.1 - stats.segments.0 <= 8, "{stats:?}");
    assert_whole(&engine, &[]);
}

#[test]
fn a_segment_is_stuck_until_its_damaged_entry_is_gone() {
    let goes: [fn(&mut WriteBatch); 4] = [
        |batch| _ = batch.compact(2, 3),
        |batch| _ = batch.append(2, &[EntryRef { index: 3, term: 1, payload: b"from a peer" }]),
        |batch| _ = batch.remove_group(2),
        |batch| _ = batch.set_start(2, 20, 9),
    ];
    for go in goes {
        let disk = SimDisk::new(1, SimOptions::default());
        let engine = filled(&disk);
        damage(&disk, &payload(2, 3));
        damage(&disk, &payload(4, 5));
        let told = Told::of(&engine);
        go_on(&engine, 1, 300);
        let is_stuck_by = |group, index| {
            let stuck = figures(&engine).stuck;
            matches!(stuck, Some((_, Error::DamagedEntry { group: g, index: i, .. })) if (g, i) == (group, index))
        };
        assert!(is_stuck_by(2, 3), "{:?}", figures(&engine).stuck);
        let mut batch = WriteBatch::new();
        go(&mut batch);
        drop(engine.write(&mut batch).unwrap());
        let stuck = figures(&engine).stuck;
        assert!(!is_stuck_by(2, 3), "{stuck:?}");
        // The next damaged entry is named in place of the first.
        go_on(&engine, 300, 400);
        assert!(is_stuck_by(4, 5), "{:?}", figures(&engine).stuck);
        assert_eq!(told.0.lock().unwrap().len(), 2);
        batch.compact(4, 5);
        drop(engine.write(&mut batch).unwrap());
        assert!(figures(&engine).stuck.is_none());
        go_on(&engine, 400, 500);
        let stats = engine.stats().unwrap();
        assert!(stats.rewrite.stuck.is_none() && stats.segments.1 - stats.segments.0 <= 8, "{stats:?}");
    }
}

#[test]
fn damage_in_many_groups_keeps_the_others_from_nothing() {
    const MANY: u64 = 200;
    let small = |group: u64| group.to_le_bytes().repeat(10);
    // Whichever groups the engine examines first, most of them have no entry that can be copied.
    for sound in [1001, 1070, 1130, 1200] {
        let disk = SimDisk::new(1, SimOptions::default());
        let mut options = options(0);
        options.log.segment_bytes = 128 << 10;
        let never = options.clone().with_slack_bytes(1 << 30);
        let engine = Engine::create_in(stepped(&disk), &never).unwrap();
        let mut batch = WriteBatch::new();
        for group in 1001..=1000 + MANY {
            batch.append(group, &[EntryRef { index: 1, term: 1, payload: &small(group) }]);
            if group % 100 == 0 {
                engine.write(&mut batch).unwrap().wait().unwrap();
            }
        }
        engine.close().unwrap();
        let (engine, _) = Engine::open_in(stepped(&disk), &options).unwrap();
        (1001..=1000 + MANY).filter(|group| *group != sound).for_each(|group| damage(&disk, &small(group)));
        go_on(&engine, 1, 300);
        let (stats, blocker) = (figures(&engine), engine.stats().unwrap().blocker.unwrap());
        assert!(matches!(stats.stuck, Some((_, Error::DamagedEntry { .. }))), "{stats:?}");
        assert_eq!(
            (blocker.segment, blocker.entries),
            (1, MANY - 1),
            "the sound one was copied: {blocker:?}"
        );
        assert_eq!(engine.group(sound).entries(1, 2, None).unwrap()[0].payload, small(sound));
    }
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
