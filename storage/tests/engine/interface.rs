//! Tests the engine's public calls: a refused batch leaves no trace, the engine releases the log's prefix by
//! itself, and groups that share a log do not disturb each other.

use std::sync::mpsc::{self, channel};
use std::thread;
use std::time::Duration;

use seawall::{Engine, EntryRef, Error, HardState, Options, WriteBatch};
use tempfile::TempDir;

fn small() -> Options {
    let mut options = Options::default().with_compression(None);
    options.log.segment_bytes = 1 << 20;
    options
}

fn new() -> (TempDir, Engine) {
    let dir = TempDir::new().expect("a directory");
    let engine = Engine::create(dir.path(), &small()).expect("created");
    (dir, engine)
}

fn entry(index: u64, term: u64) -> EntryRef<'static> {
    EntryRef { index, term, payload: b"payload" }
}

fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

/// Creates an engine with group 7: compaction point 3 of term 3, the entries 4/4 and 5/5 (index/term), and a
/// hard state with a vote for 2 in term 5 and commit index 4.
fn prepared() -> (TempDir, Engine) {
    let (dir, engine) = new();
    let mut batch = WriteBatch::new();
    batch.set_start(7, 3, 3).append(7, &[entry(4, 4), entry(5, 5)]).hard_state(7, hard(5, 2, 4));
    drop(engine.write(&mut batch).expect("written"));
    (dir, engine)
}

/// Returns everything that callers can observe of the engine.
fn seen(engine: &Engine) -> String {
    let groups = engine.groups();
    let of = |id: &u64| {
        let group = engine.group(*id);
        let entries = group.entries(group.first_index(), group.last_index() + 1, None).expect("entries");
        let at = (group.compaction_point(), group.hard_state(), group.conf_state(), group.term_runs());
        (*id, at, entries.iter().map(|e| (e.index, e.term, e.payload.to_vec())).collect::<Vec<_>>())
    };
    let stats = engine.stats().expect("open");
    format!(
        "{:?} {:?}",
        groups.iter().map(of).collect::<Vec<_>>(),
        (stats.entries, stats.blocker, stats.groups)
    )
}

/// Writes the batch that `build` makes, checks that it is refused without a trace, and returns the error.
fn refused(build: impl for<'a> Fn(&'a mut WriteBatch) -> &'a mut WriteBatch) -> Error {
    let (dir, engine) = prepared();
    let before = seen(&engine);
    // Writes the operations alone, and after valid operations of other groups.
    let mut error = None;
    for company in [false, true] {
        let mut batch = WriteBatch::new();
        if company {
            batch.append(6, &[entry(1, 1)]).hard_state(8, hard(1, 1, 0));
        }
        let _ = build(&mut batch);
        error = Some(engine.write(&mut batch).expect_err("refused"));
        assert!(!batch.is_empty(), "a refused batch stays as it was");
        assert_eq!(seen(&engine), before);
    }
    engine.close().expect("closed");
    drop(engine);
    let (engine, report) = Engine::open(dir.path(), &small()).expect("opened");
    assert_eq!(report.records, 1, "nothing else was written");
    assert_eq!(engine.groups(), [7]);
    error.expect("two tries")
}

#[test]
fn a_gap() {
    let error = refused(|b| b.append(7, &[entry(7, 5)]));
    assert!(matches!(error, Error::Gap { group: 7, index: 7, expected: 6 }), "{error}");
    let error = refused(|b| b.append(7, &[entry(6, 5), entry(8, 5)]));
    assert!(matches!(error, Error::Gap { group: 7, index: 8, expected: 7 }), "{error}");
    let error = refused(|b| b.append(9, &[entry(2, 5)]));
    assert!(matches!(error, Error::Gap { group: 9, index: 2, expected: 1 }), "{error}");
}

#[test]
fn an_entry_at_or_below_the_compaction_point() {
    for index in [0, 2, 3] {
        let error = refused(|b| b.append(7, &[entry(index, 5)]));
        assert!(matches!(error, Error::Compacted { group: 7, index: i, point: 3 } if i == index), "{error}");
    }
}

#[test]
fn terms_that_decrease() {
    let error = refused(|b| b.append(7, &[entry(6, 4)]));
    assert!(matches!(error, Error::TermDecreases { group: 7, index: 6, term: 4, before: 5 }), "{error}");
    let error = refused(|b| b.append(7, &[entry(6, 9), entry(7, 8)]));
    assert!(matches!(error, Error::TermDecreases { group: 7, index: 7, term: 8, before: 9 }), "{error}");
    let error = refused(|b| b.append(7, &[entry(4, 2)]));
    assert!(matches!(error, Error::TermDecreases { group: 7, index: 4, term: 2, before: 3 }), "{error}");
    let error = refused(|b| b.append(7, &[entry(5, 9)]).append(7, &[entry(6, 8)]));
    assert!(matches!(error, Error::TermDecreases { index: 6, before: 9, .. }), "in one batch: {error}");
}

#[test]
fn a_hard_state_that_goes_back() {
    for (state, name, values) in [
        (hard(4, 2, 4), "term", (5, 4)),
        (hard(5, 1, 4), "vote", (2, 1)),
        (hard(5, 0, 4), "vote", (2, 0)),
        (hard(5, 2, 3), "commit", (4, 3)),
    ] {
        let error = refused(|b| b.hard_state(7, state));
        let Error::HardStateBack { group: 7, field, from, to } = error else { panic!("{error}") };
        assert_eq!((field, (from, to)), (name, values));
    }
}

#[test]
fn a_commit_beyond_the_log() {
    let error = refused(|b| b.hard_state(7, hard(5, 2, 6)));
    assert!(matches!(error, Error::CommitTooHigh { group: 7, commit: 6, last_index: 5 }), "{error}");
    let error = refused(|b| b.hard_state(7, hard(5, 2, 5)).append(7, &[entry(4, 4)]));
    assert!(matches!(error, Error::CommitTooHigh { group: 7, commit: 5, last_index: 4 }), "{error}");
    // Only the state after the whole batch counts, not the order inside it.
    let (_dir, engine) = prepared();
    let mut batch = WriteBatch::new();
    batch.hard_state(7, hard(5, 2, 6)).append(7, &[entry(6, 5)]);
    drop(engine.write(&mut batch).expect("the entry is there after the batch"));
}

#[test]
fn committed_entries_of_another_term() {
    let error = refused(|b| b.append(7, &[entry(4, 9)]));
    assert!(
        matches!(error, Error::Committed { group: 7, index: 4, term: 9, known: 4, commit: 4 }),
        "{error}"
    );
    let error = refused(|b| {
        b.append(7, &[entry(4, 4), entry(5, 6)]).hard_state(7, hard(5, 2, 5)).append(7, &[entry(5, 7)])
    });
    assert!(matches!(error, Error::Committed { index: 5, term: 7, known: 6, .. }), "in one batch: {error}");
    // A batch that truncates a committed entry and then appends another in its place is refused, too.
    let error =
        refused(|b| b.hard_state(7, hard(5, 2, 5)).append(7, &[entry(4, 4)]).append(7, &[entry(5, 6)]));
    assert!(matches!(error, Error::Committed { index: 5, term: 6, known: 5, commit: 5, .. }), "{error}");
    // The engine accepts entries of the same terms, entries that replace uncommitted ones, and a group that
    // begins again.
    let accepted: [fn(&mut WriteBatch); 3] = [
        |b| _ = b.append(7, &[entry(4, 4), entry(5, 5)]),
        |b| _ = b.append(7, &[entry(4, 4), entry(5, 9)]),
        |b| _ = b.remove_group(7).append(7, &[entry(1, 1), entry(2, 1), entry(3, 1), entry(4, 9)]),
    ];
    for build in accepted {
        let (_dir, engine) = prepared();
        let mut batch = WriteBatch::new();
        build(&mut batch);
        drop(engine.write(&mut batch).expect("accepted"));
    }
}

#[test]
fn compactions_out_of_bounds() {
    for index in [0, 2, 3] {
        let error = refused(|b| b.compact(7, index));
        assert!(matches!(error, Error::Compacted { group: 7, index: i, point: 3 } if i == index), "{error}");
        let error = refused(|b| b.set_start(7, index, 3));
        assert!(matches!(error, Error::Compacted { group: 7, index: i, point: 3 } if i == index), "{error}");
    }
    let error = refused(|b| b.compact(7, 6));
    assert!(matches!(error, Error::Unavailable { group: 7, index: 6, last_index: 5 }), "{error}");
    let error = refused(|b| b.set_start(7, u64::MAX, 9));
    assert!(matches!(error, Error::IndexRange { group: 7, index: u64::MAX }), "{error}");
}

#[test]
fn too_large() {
    let large = vec![0; 2 << 20];
    let error = refused(|b| b.append(7, &[entry(6, 5), EntryRef { index: 7, term: 5, payload: &large }]));
    assert!(matches!(error, Error::EntryTooLarge { group: 7, index: 7, bytes: 2_097_152, .. }), "{error}");
    let conf = seawall::ConfState { voters: vec![1; 40_000], ..Default::default() };
    let error = refused(|b| b.conf_state(7, &conf));
    assert!(matches!(error, Error::ConfStateTooLarge { group: 7, bytes: 320_032, .. }), "{error}");
    let half = &large[..600 << 10];
    let entry = |index| EntryRef { index, term: 5, payload: half };
    let error = refused(|b| b.append(7, &[entry(6), entry(7)]));
    assert!(matches!(error, Error::BatchTooLarge { bytes, max } if bytes > max), "{error}");
}

#[test]
fn an_empty_batch_and_a_closed_engine() {
    let (_dir, engine) = prepared();
    let group = engine.group(7);
    assert!(matches!(engine.write(&mut WriteBatch::new()), Err(Error::EmptyBatch)));
    engine.close().expect("closed");
    assert!(matches!(engine.close(), Err(Error::Closed)));
    assert!(matches!(engine.flush(), Err(Error::Closed)));
    assert!(matches!(group.entries(4, 5, None), Err(Error::Closed)));
    let mut batch = WriteBatch::new();
    batch.remove_group(7);
    assert!(matches!(engine.write(&mut batch), Err(Error::Closed)));
    assert_eq!(group.last_index(), 5, "what is in memory stays readable");
}

#[test]
fn a_bad_option_is_refused_before_anything_is_made() {
    let dir = TempDir::new().expect("a directory");
    let options = small().with_reemit_groups_max(0);
    assert!(matches!(Engine::create(dir.path(), &options), Err(Error::OptionOutOfRange(_))));
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
}

#[test]
fn a_removed_group_starts_anew() {
    let (dir, engine) = prepared();
    let mut batch = WriteBatch::new();
    batch.remove_group(7).append(8, &[entry(1, 1)]);
    drop(engine.write(&mut batch).expect("written"));
    assert_eq!(engine.groups(), [8]);
    assert_eq!((engine.group(7).first_index(), engine.group(7).hard_state()), (1, HardState::default()));
    batch.append(7, &[entry(1, 1)]).hard_state(7, hard(1, 0, 1));
    drop(engine.write(&mut batch).expect("from the start again"));
    let before = seen(&engine);
    engine.close().expect("closed");
    drop(engine);
    let (engine, report) = Engine::open(dir.path(), &small()).expect("opened");
    assert_eq!((report.groups, report.entries), (2, 2));
    assert_eq!(seen(&engine), before);
}

#[test]
fn the_prefix_goes_by_itself_and_small_state_survives() {
    let (dir, engine) = new();
    let mut batch = WriteBatch::new();
    // These groups write once and stay idle. There are more of them than one record copies.
    for group in 100..400 {
        let conf = seawall::ConfState { voters: vec![group, 1, 2], ..Default::default() };
        batch.hard_state(group, hard(group, 1, 0)).conf_state(group, &conf);
    }
    batch.set_start(50, 40, 3).hard_state(51, hard(9, 9, 0));
    drop(engine.write(&mut batch).expect("written"));
    let payload = vec![7; 10_000];
    for index in 1..=2000 {
        batch.append(1, &[EntryRef { index, term: 1, payload: &payload }]);
        batch.hard_state(1, hard(1, 1, index - 1));
        if index > 10 {
            batch.compact(1, index - 10);
        }
        drop(engine.write(&mut batch).expect("written"));
    }
    engine.flush().expect("flushed");
    let stats = engine.stats().expect("open");
    let (first, active) = stats.segments;
    assert!(active > 15, "20 MB in segments of 1 MiB");
    assert!(active - first <= 3, "{first}..{active}: {:?}", stats.blocker);
    let before = seen(&engine);
    engine.close().expect("closed");
    drop(engine);
    let (engine, report) = Engine::open(dir.path(), &small()).expect("opened");
    assert_eq!((report.groups, report.entries), (303, 10));
    let strip = |text: &str| text.rsplit_once(" (").map(|s| s.0.to_owned());
    assert_eq!(strip(&seen(&engine)), strip(&before));
    assert_eq!(engine.group(50).compaction_point(), (40, 3));
}

#[test]
fn writers_and_readers_of_many_groups_at_once() {
    let (dir, engine) = new();
    thread::scope(|scope| {
        for writer in 0..4u64 {
            let (engine, reader) = (engine.clone(), engine.clone());
            scope.spawn(move || {
                let mut batch = WriteBatch::new();
                let payload = writer.to_le_bytes().repeat(100);
                for index in 1..=500 {
                    // Each writer has its own group, and all of them write to one shared group in no fixed
                    // order.
                    batch.append(writer, &[EntryRef { index, term: 1, payload: &payload }]);
                    batch.hard_state(writer, hard(1, 1, index));
                    batch.conf_state(99, &seawall::ConfState { voters: vec![writer], ..Default::default() });
                    if index > 20 {
                        batch.compact(writer, index - 20);
                    }
                    let ticket = engine.write(&mut batch).expect("written");
                    if index % 50 == 0 {
                        ticket.wait().expect("durable");
                    }
                }
            });
            scope.spawn(move || {
                let group = reader.group(writer);
                while group.last_index() < 500 {
                    let (low, high) = (group.first_index(), group.last_index() + 1);
                    match group.entries(low, high.max(low), None) {
                        Ok(entries) => {
                            for (entry, index) in entries.iter().zip(low..) {
                                assert_eq!(
                                    (entry.index, &entry.payload[..8]),
                                    (index, &writer.to_le_bytes()[..])
                                );
                            }
                        }
                        Err(Error::Compacted { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let before = seen(&engine);
    engine.close().expect("closed");
    drop(engine);
    let (engine, _) = Engine::open(dir.path(), &small()).expect("opened");
    let strip = |text: &str| text.rsplit_once(" (").map(|s| s.0.to_owned());
    assert_eq!(strip(&seen(&engine)), strip(&before));
}

#[test]
fn who_must_not_wait_is_told_where_a_write_would() {
    use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
    use seawall_wal::{Env, Threads};
    use std::sync::Arc;

    let env = Env {
        disk: SimDisk::new(1, SimOptions::default()).process(),
        clock: Arc::new(SimClock::new()),
        random: Arc::new(SimRandom::new(2)),
        threads: Threads::Stepped,
    };
    let mut options = small();
    options.log.queue_bytes = 64 << 10;
    let engine = Engine::create_in(env, &options).expect("created");
    let mut batch = WriteBatch::new();
    let payload = [7; 4096];
    batch.append(7, &[EntryRef { index: 1, term: 1, payload: &payload }]);
    assert!(engine.try_write(&mut batch).expect("no error").is_none(), "the group does not exist");
    assert_eq!(engine.group(7).last_index(), 0);
    drop(engine.write(&mut batch).expect("the batch is unchanged"));
    // No thread writes to the disk, so the queue fills up.
    let mut index = 1;
    let full = loop {
        batch.append(7, &[EntryRef { index: index + 1, term: 1, payload: &payload }]);
        if engine.try_write(&mut batch).expect("no error").is_none() {
            break index;
        }
        index += 1;
        assert!(index < 100, "nothing held it up");
    };
    assert_eq!(engine.group(7).last_index(), full);
    engine.flush().expect("flushed");
    assert!(engine.try_write(&mut batch).expect("no error").is_some());
    assert_eq!(engine.group(7).last_index(), full + 1);
    let bad = batch.append(7, &[entry(full + 9, 1)]);
    assert!(matches!(engine.try_write(bad), Err(Error::Gap { .. })));
}

#[test]
fn what_memory_has_is_read_without_io() {
    let (dir, engine) = prepared();
    let memory = |engine: &Engine, low, high| {
        let found = engine.group(7).entries_in_memory(low, high, None).expect("a range that is there");
        found.map(|entries| entries.iter().map(|e| (e.index, e.payload.to_vec())).collect::<Vec<_>>())
    };
    let both = vec![(4, b"payload".to_vec()), (5, b"payload".to_vec())];
    assert_eq!(memory(&engine, 4, 6), Some(both));
    assert_eq!(memory(&engine, 4, 4), Some(vec![]));
    assert!(matches!(engine.group(7).entries_in_memory(3, 5, None), Err(Error::Compacted { .. })));
    assert!(matches!(engine.group(7).entries_in_memory(4, 7, None), Err(Error::Unavailable { .. })));
    engine.close().expect("closed");
    let (engine, _) = Engine::open(dir.path(), &small()).expect("opened");
    assert_eq!(memory(&engine, 4, 6), None, "a reopened engine has nothing in memory");
}

/// Tests that a callback may write to a group to which other threads write while they wait for callbacks, and
/// that it may close the engine, after which the directory is free.
#[test]
fn a_callback_may_write_read_and_close() {
    for callbacks_max in [1, 65_536] {
        let (dir, mut options) = (TempDir::new().expect("a directory"), small());
        options.log.callbacks_max = callbacks_max;
        let engine = Engine::create(dir.path(), &options).expect("created");
        let (go, started) = mpsc::channel();
        let (done, reopened) = mpsc::channel();
        let (inside, path) = (engine.clone(), dir.path().to_path_buf());
        let mut batch = WriteBatch::new();
        batch.append(7, &[entry(1, 1)]).hard_state(7, hard(1, 1, 0));
        let ticket = engine.write(&mut batch).expect("written");
        ticket.on_durable(move |result| {
            result.expect("durable");
            started.recv().expect("the others have started");
            let mut batch = WriteBatch::new();
            for index in 2..20 {
                batch.append(7, &[entry(index, 1)]);
                inside.write(&mut batch).expect("written").wait().expect("durable");
            }
            assert_eq!(inside.group(7).entries(1, 20, None).expect("read").len(), 19);
            inside.flush().expect("flushed");
            inside.close().expect("closed");
            done.send(Engine::open(&path, &options).map(|(again, _)| again.group(7).last_index()))
                .expect("a listener");
        });
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut batch = WriteBatch::new();
                    let error = loop {
                        batch.clear();
                        match engine.write(batch.hard_state(7, hard(1, 1, 0)).sync()) {
                            Ok(ticket) => ticket.on_durable(drop),
                            Err(error) => break error,
                        }
                    };
                    let closed = matches!(&error, Error::Closed | Error::Log(seawall_wal::Error::Closed));
                    assert!(closed, "{error}");
                });
            }
            go.send(()).expect("a callback");
        });
        assert_eq!(reopened.recv().expect("an answer").expect("the directory is free"), 19);
    }
}

/// Tests that a closure may use the engine that calls it in every way: nothing hangs, and only closing is
/// refused.
#[test]
fn an_engine_inside_of_its_own_closure() {
    let (dir, engine) = prepared();
    let (sender, done) = channel();
    let all = engine.clone();
    thread::spawn(move || {
        let (engine, group) = (all.clone(), all.group(7));
        let closer = all.clone();
        let mut closing = None;
        let read = group.entries_with(4, 6, None, |entry| {
            assert!(matches!(engine.close(), Err(Error::InsideCall)));
            let mut batch = WriteBatch::new();
            let next = group.last_index() + 1;
            batch.append(7, &[EntryRef { index: next, term: 5, payload: b"from inside" }]);
            engine.write(&mut batch).expect("written").wait().expect("durable");
            batch.hard_state(7, hard(5, 2, 5));
            let written = engine.try_write(&mut batch).expect("accepted");
            assert!(written.is_some());
            engine.flush().expect("flushed");
            assert_eq!(engine.stats().expect("open").groups, engine.groups().len());
            assert!(engine.damaged().is_empty() && engine.entry_bytes_max().expect("open") > 0);
            assert_eq!(group.entries(4, 6, None).expect("entries").len(), 2);
            assert_eq!(group.pin(4, 6).expect("pinned").read(None).expect("entries").len(), 2);
            let mut inner = 0;
            let nested = group.entries_with(4, 5, None, |_| {
                inner += 1;
                matches!(engine.close(), Err(Error::InsideCall))
            });
            assert_eq!((nested.expect("entries").len(), inner), (1, 1));
            assert!(matches!(engine.close(), Err(Error::InsideCall)), "still inside of the outer one");
            // Meanwhile another thread may wait until it can close the engine.
            if entry.index == 4 {
                let closer = closer.clone();
                closing = Some(thread::spawn(move || closer.close()));
            }
            true
        });
        assert_eq!(read.expect("entries").len(), 2);
        closing.expect("called").join().expect("no panic").expect("closed once the closure had returned");
        assert!(matches!(engine.close(), Err(Error::Closed)));
        sender.send(()).expect("the test waits");
    });
    done.recv_timeout(Duration::from_secs(60)).expect("it hangs, or a check above failed");
    drop(engine);
    let (engine, _) = Engine::open(dir.path(), &small()).expect("opened");
    assert_eq!(engine.group(7).last_index(), 7);
    // A closure that one engine calls may close another one.
    let (_other_dir, other) = new();
    engine
        .group(7)
        .entries_with(4, 5, None, |_| {
            other.close().expect("another one");
            true
        })
        .expect("entries");
}
