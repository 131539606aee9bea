//! Tests what the engine returns to a Raft core, after a write and after a reopen.
//!
//! The fixture is the one of the cores' own tests: a snapshot at index 3 of term 3, and the entries 4/4 and
//! 5/5 (index/term).

use seawall::{Engine, Entry, EntryRef, Error, Group, HardState, Options, WriteBatch};
use tempfile::TempDir;

const GROUP: u64 = 7;

/// Returns a payload of 7 bytes per index, so that sizes differ.
fn payload(index: u64, term: u64) -> Vec<u8> {
    format!("{index}/{term}....").into_bytes().repeat(usize::try_from(index).expect("small"))
}

fn append(batch: &mut WriteBatch, entries: &[(u64, u64)]) {
    let payloads: Vec<_> = entries.iter().map(|e| payload(e.0, e.1)).collect();
    let refs: Vec<_> = entries
        .iter()
        .zip(&payloads)
        .map(|(&(index, term), payload)| EntryRef { index, term, payload })
        .collect();
    batch.append(GROUP, &refs);
}

fn fixture() -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.set_start(GROUP, 3, 3);
    append(&mut batch, &[(4, 4), (5, 5)]);
    batch
}

/// Writes `batches` to a new engine, then runs `check` on the group before and after a reopen.
fn before_and_after_reopen(batches: Vec<WriteBatch>, check: impl Fn(&Group)) {
    let dir = TempDir::new().expect("a directory");
    let mut options = Options::default();
    options.log.segment_bytes = 1 << 20;
    let engine = Engine::create(dir.path(), &options).expect("created");
    for mut batch in batches {
        engine.write(&mut batch).expect("written").wait().expect("durable");
        assert!(batch.is_empty());
    }
    check(&engine.group(GROUP));
    engine.close().expect("closed");
    drop(engine);
    let (engine, report) = Engine::open(dir.path(), &options).expect("opened");
    assert_eq!(report.groups, 1);
    check(&engine.group(GROUP));
    engine.close().expect("closed");
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    for entry in entries {
        assert_eq!(entry.payload, payload(entry.index, entry.term), "{entry:?}");
    }
    entries.iter().map(|e| e.index).collect()
}

fn log(group: &Group) -> Vec<(u64, u64)> {
    let entries = group.entries(group.first_index(), group.last_index() + 1, None).expect("the whole log");
    assert_eq!(indexes(&entries), (group.first_index()..=group.last_index()).collect::<Vec<_>>());
    for entry in &entries {
        assert_eq!(group.term(entry.index).expect("its term"), entry.term);
    }
    entries.iter().map(|e| (e.index, e.term)).collect()
}

fn compact(index: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.compact(GROUP, index);
    batch
}

fn appended(entries: &[(u64, u64)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    append(&mut batch, entries);
    batch
}

#[test]
fn terms() {
    before_and_after_reopen(vec![fixture()], |group| {
        assert!(matches!(group.term(2), Err(Error::Compacted { group: GROUP, index: 2, point: 3 })));
        for index in 3..6 {
            assert_eq!(group.term(index).expect("known"), index);
        }
        assert!(matches!(group.term(6), Err(Error::Unavailable { group: GROUP, index: 6, last_index: 5 })));
        assert_eq!(group.compaction_point(), (3, 3));
        assert_eq!(group.term_runs(), [(4, 4), (5, 5)]);
    });
}

#[test]
fn entries_and_limits() {
    before_and_after_reopen(vec![fixture(), appended(&[(6, 6)])], |group| {
        for (low, high) in [(2, 6), (3, 4)] {
            let got = group.entries(low, high, None);
            assert!(matches!(got, Err(Error::Compacted { index, point: 3, .. }) if index == low), "{got:?}");
        }
        let get = |high, limit| indexes(&group.entries(4, high, limit).expect("in the log"));
        assert_eq!(get(4, None), [0u64; 0]);
        assert_eq!(get(5, None), [4]);
        assert_eq!(get(6, None), [4, 5]);
        assert_eq!(get(7, None), [4, 5, 6]);
        let (s4, s5, s6) = (28, 35, 42);
        assert_eq!(get(7, Some(0)), [4]);
        assert_eq!(get(7, Some(s4 + s5 - 1)), [4]);
        assert_eq!(get(7, Some(s4 + s5)), [4, 5]);
        assert_eq!(get(7, Some(s4 + s5 + s6 / 2)), [4, 5]);
        assert_eq!(get(7, Some(s4 + s5 + s6 - 1)), [4, 5]);
        assert_eq!(get(7, Some(s4 + s5 + s6)), [4, 5, 6]);
        let got = group.entries(4, 8, None);
        assert!(matches!(got, Err(Error::Unavailable { index: 7, last_index: 6, .. })), "{got:?}");
        assert!(matches!(group.entries(6, 5, None), Err(Error::Range { low: 6, high: 5, .. })));
    });
}

#[test]
fn the_callers_own_measure_ends_a_read() {
    before_and_after_reopen(vec![fixture(), appended(&[(6, 6)])], |group| {
        for (limit, expected) in [(0, &[4][..]), (1, &[4]), (2, &[4, 5]), (3, &[4, 5, 6]), (9, &[4, 5, 6])] {
            let mut seen = 0;
            let more = |_: &Entry| {
                seen += 1;
                seen <= limit
            };
            assert_eq!(indexes(&group.entries_with(4, 7, None, more).expect("in the log")), expected);
        }
    });
}

#[test]
fn first_and_last() {
    before_and_after_reopen(vec![fixture()], |group| {
        assert_eq!((group.first_index(), group.last_index()), (4, 5));
    });
    before_and_after_reopen(vec![fixture(), appended(&[(6, 6)])], |group| {
        assert_eq!((group.first_index(), group.last_index()), (4, 6));
    });
}

#[test]
fn compaction() {
    before_and_after_reopen(vec![fixture(), compact(4)], |group| {
        assert_eq!(group.first_index(), 5);
        assert_eq!(log(group), [(5, 5)]);
        assert_eq!(group.term(4).expect("stays known"), 4);
    });
    before_and_after_reopen(vec![fixture(), compact(5)], |group| {
        assert_eq!((group.first_index(), group.last_index()), (6, 5));
        assert_eq!(log(group), []);
        assert_eq!(group.term(5).expect("stays known"), 5);
    });
}

#[test]
fn appends() {
    for (entries, expected) in [
        (&[(4, 4), (5, 5)][..], &[(4, 4), (5, 5)][..]),
        (&[(4, 6), (5, 6)], &[(4, 6), (5, 6)]),
        (&[(4, 4), (5, 5), (6, 5)], &[(4, 4), (5, 5), (6, 5)]),
        (&[(4, 5)], &[(4, 5)]),
        (&[(5, 9)], &[(4, 4), (5, 9)]),
        (&[(6, 6)], &[(4, 4), (5, 5), (6, 6)]),
    ] {
        before_and_after_reopen(vec![fixture(), appended(entries)], |group| assert_eq!(log(group), expected));
    }
}

#[test]
fn a_snapshot_ahead_of_the_log_discards_it() {
    let start = |index, term| {
        let mut batch = WriteBatch::new();
        batch.set_start(GROUP, index, term);
        batch
    };
    for (index, term, last, expected) in
        [(4, 4, 5, &[(5, 5)][..]), (5, 5, 5, &[]), (4, 7, 4, &[]), (9, 9, 9, &[])]
    {
        before_and_after_reopen(vec![fixture(), start(index, term)], |group| {
            assert_eq!((group.first_index(), group.last_index()), (index + 1, last));
            assert_eq!(group.compaction_point(), (index, term));
            assert_eq!(log(group), expected);
        });
    }
    before_and_after_reopen(vec![fixture(), start(9, 9), appended(&[(10, 9), (11, 10)])], |group| {
        assert_eq!(log(group), [(10, 9), (11, 10)]);
    });
}

#[test]
fn hard_state_and_conf_state() {
    let conf = seawall::ConfState {
        voters: vec![1, 2, 3],
        learners: vec![4],
        voters_outgoing: vec![1, 2],
        learners_next: vec![2],
        auto_leave: true,
        index: 3,
    };
    let mut batch = fixture();
    batch.hard_state(GROUP, HardState { term: 5, vote: 2, commit: 4 }).conf_state(GROUP, &conf);
    let mut commit = WriteBatch::new();
    commit.hard_state(GROUP, HardState { term: 5, vote: 2, commit: 5 });
    before_and_after_reopen(vec![batch, commit], |group| {
        assert_eq!(group.hard_state(), HardState { term: 5, vote: 2, commit: 5 });
        assert_eq!(group.conf_state().as_deref(), Some(&conf));
    });
}

#[test]
fn a_group_nobody_wrote_is_empty() {
    before_and_after_reopen(vec![fixture()], |_| {});
    let dir = TempDir::new().expect("a directory");
    let engine = Engine::create(dir.path(), &Options::default()).expect("created");
    let group = engine.group(GROUP);
    assert_eq!((group.first_index(), group.last_index()), (1, 0));
    assert_eq!(group.term(0).expect("the point"), 0);
    assert!(matches!(group.term(1), Err(Error::Unavailable { .. })));
    assert_eq!(group.hard_state(), HardState::default());
    assert_eq!(group.conf_state(), None);
    assert!(group.entries(1, 1, None).expect("an empty range").is_empty());
    assert!(matches!(group.entries(1, 2, None), Err(Error::Unavailable { index: 1, .. })));
    assert!(matches!(group.entries(0, 1, None), Err(Error::Compacted { index: 0, .. })));
    assert!(engine.groups().is_empty());
}
