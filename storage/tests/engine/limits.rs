//! Tests the ends of every range: indexes, terms, sizes, and many operations on one group in one batch
//! (INV-9).
//!
//! Accepted data is there after a reopen, a refused batch leaves no trace, and nothing panics or waits
//! forever.

use seawall::{ConfState, Engine, EntryRef, Error, HardState, Options, WriteBatch};
use tempfile::TempDir;

fn options(segment_bytes: u32) -> Options {
    let mut options = Options::default();
    options.log.segment_bytes = segment_bytes;
    options
}

fn new(segment_bytes: u32) -> (TempDir, Engine) {
    let dir = TempDir::new().expect("a directory");
    let engine = Engine::create(dir.path().join("log"), &options(segment_bytes)).expect("created");
    (dir, engine)
}

fn entry(index: u64, term: u64) -> EntryRef<'static> {
    EntryRef { index, term, payload: b"payload" }
}

fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

type Seen = (u64, (u64, u64), HardState, Vec<(u64, u64, Vec<u8>)>);

fn seen(engine: &Engine) -> Vec<Seen> {
    let of = |id: u64| {
        let group = engine.group(id);
        let entries = group.entries(group.first_index(), group.last_index() + 1, None).expect("entries");
        let entries = entries.iter().map(|e| (e.index, e.term, e.payload.to_vec())).collect();
        (id, group.compaction_point(), group.hard_state(), entries)
    };
    engine.groups().into_iter().map(of).collect()
}

fn reopened(dir: &TempDir, engine: Engine, segment_bytes: u32) -> Engine {
    let before = seen(&engine);
    engine.close().expect("closed");
    drop(engine);
    let (engine, _) = Engine::open(dir.path().join("log"), &options(segment_bytes)).expect("opened");
    assert_eq!(seen(&engine), before);
    engine
}

#[test]
fn the_last_index_and_term_that_there_are() {
    let (dir, engine) = new(1 << 20);
    let (mut batch, last, group) = (WriteBatch::new(), u64::MAX - 1, u64::MAX - 1);
    batch.append(u64::MAX, &[entry(1, 1)]);
    assert!(matches!(engine.write(&mut batch), Err(Error::GroupReserved { group: u64::MAX })));
    batch.clear();
    batch
        .set_start(group, last - 2, u64::MAX)
        .append(group, &[entry(last - 1, u64::MAX), entry(last, u64::MAX)]);
    batch.hard_state(group, hard(u64::MAX, u64::MAX, last));
    drop(engine.write(&mut batch).expect("written"));
    let engine = reopened(&dir, engine, 1 << 20);
    let handle = engine.group(group);
    assert_eq!((handle.first_index(), handle.last_index()), (last - 1, last));
    assert_eq!(handle.entries(last - 1, u64::MAX, Some(0)).expect("one").len(), 1);
    assert_eq!(handle.term(last).expect("known"), u64::MAX);
    assert!(matches!(handle.term(u64::MAX), Err(Error::Unavailable { .. })));
    assert!(matches!(handle.entries(u64::MAX, u64::MAX, None).as_deref(), Ok([])));
    for index in [u64::MAX, 0] {
        batch.append(group, &[entry(index, u64::MAX)]);
        let error = engine.write(&mut batch).expect_err("no such index");
        assert!(matches!(error, Error::IndexRange { .. } | Error::Compacted { .. }), "{error}");
        batch.clear();
    }
    batch.append(group, &[entry(last, u64::MAX), entry(u64::MAX, u64::MAX)]);
    assert!(matches!(engine.write(&mut batch), Err(Error::IndexRange { index: u64::MAX, .. })));
    batch.clear();
    batch.compact(group, last);
    drop(engine.write(&mut batch).expect("compacted to the very end"));
    let engine = reopened(&dir, engine, 1 << 20);
    assert_eq!((engine.group(group).first_index(), engine.group(group).last_index()), (u64::MAX, last));
    for index in [last, u64::MAX] {
        batch.compact(group, index).set_start(group, index, 1);
        assert!(engine.write(&mut batch).is_err());
        batch.clear();
    }
}

#[test]
fn term_zero_and_empty_appends() {
    let (dir, engine) = new(1 << 20);
    let mut batch = WriteBatch::new();
    batch.append(0, &[]);
    assert!(batch.is_empty());
    assert!(matches!(engine.write(&mut batch), Err(Error::EmptyBatch)));
    batch
        .append(0, &[EntryRef { index: 1, term: 0, payload: b"" }])
        .append(0, &[])
        .hard_state(3, hard(0, 0, 0));
    drop(engine.write(&mut batch).expect("written"));
    assert_eq!(engine.groups(), [0, 3]);
    let engine = reopened(&dir, engine, 1 << 20);
    assert_eq!((engine.groups(), engine.group(0).term(1).expect("known")), (vec![0, 3], 0));
}

#[test]
fn one_group_many_times_in_one_batch() {
    let (dir, engine) = new(1 << 20);
    let mut batch = WriteBatch::new();
    batch.append(5, &[entry(1, 1), entry(2, 1), entry(3, 2)]).hard_state(5, hard(2, 1, 0));
    // One record holds all operations: the group is overwritten twice, compacted into its new entries,
    // removed and started again.
    batch
        .append(5, &[entry(3, 3), entry(4, 3)])
        .append(5, &[entry(4, 4)])
        .compact(5, 3)
        .append(5, &[entry(5, 6)]);
    batch.conf_state(5, &ConfState { voters: vec![1], ..ConfState::default() });
    batch
        .remove_group(5)
        .append(5, &[entry(1, 9)])
        .hard_state(5, hard(9, 0, 1))
        .compact(5, 1)
        .set_start(5, 8, 9);
    batch.append(5, &[entry(9, 9)]).hard_state(5, hard(9, 4, 9)).set_start(5, 9, 9).remove_group(6);
    drop(engine.write(&mut batch).expect("written"));
    let group = engine.group(5);
    assert_eq!((group.compaction_point(), group.last_index(), group.conf_state()), ((9, 9), 9, None));
    assert_eq!(group.hard_state(), hard(9, 4, 9));
    let engine = reopened(&dir, engine, 1 << 20);
    assert_eq!((engine.groups(), engine.stats().expect("open").entries), (vec![5], 0));

    // If the last operation is refused, everything before it in the batch is refused, too.
    let before = seen(&engine);
    batch.remove_group(5).append(5, &[entry(1, 1)]).append(7, &[entry(1, 1)]).append(5, &[entry(3, 1)]);
    assert!(matches!(engine.write(&mut batch), Err(Error::Gap { group: 5, index: 3, expected: 2 })));
    assert_eq!(seen(&engine), before);
    let engine = reopened(&dir, engine, 1 << 20);
    assert_eq!(engine.groups(), [5]);
}

/// Tests that the largest accepted batches can be written one after the other and are read back, and that one
/// byte more is refused, whatever the log already holds.
#[test]
fn the_largest_batches() {
    for segment_bytes in [32 << 10, 64 << 10, (1 << 20) + 4096] {
        let (dir, engine) = new(segment_bytes);
        let payload = vec![7; segment_bytes as usize];
        let mut batch = WriteBatch::new();
        let mut write = |index: u64, length: usize| {
            batch.clear();
            batch.append(1, &[EntryRef { index, term: 1, payload: &payload[..length] }]);
            batch.hard_state(1, hard(index, 0, index - 1));
            if index > 2 {
                batch.compact(1, index - 2);
            }
            engine.write(&mut batch).map(|ticket| ticket.wait().expect("durable"))
        };
        let (mut low, mut high) = (0, payload.len());
        let mut index = 0;
        while low + 1 < high {
            let middle = low.midpoint(high);
            match write(index + 1, middle) {
                Ok(_) => (low, index) = (middle, index + 1),
                Err(Error::BatchTooLarge { .. } | Error::EntryTooLarge { .. }) => high = middle,
                Err(error) => panic!("{middle} bytes: {error}"),
            }
        }
        assert!(engine.entry_bytes_max().expect("open") <= low, "what is promised is taken");
        for _ in 0..6 {
            assert!(write(index + 1, low + 1).is_err());
            write(index + 1, low).expect("as large as it may be");
            index += 1;
            write(index + 1, 0).expect("small, between large ones");
            index += 1;
        }
        reopened(&dir, engine, segment_bytes);
    }
}

#[test]
fn many_groups_in_one_batch() {
    let (dir, engine) = new(4 << 20);
    let mut batch = WriteBatch::new();
    for group in (0..5000).rev() {
        batch.append(group, &[entry(1, 1)]).hard_state(group, hard(1, group, 1));
    }
    drop(engine.write(&mut batch).expect("written"));
    assert_eq!(engine.groups().len(), 5000);
    for group in 0..5000 {
        batch.remove_group(group);
    }
    drop(engine.write(&mut batch).expect("removed"));
    let engine = reopened(&dir, engine, 4 << 20);
    assert_eq!((engine.groups(), engine.stats().expect("open").blocker), (vec![], None));
}
