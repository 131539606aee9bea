//! Tests what the adapter returns to the core, after a write and after a reopen, in a real directory.
//!
//! The fixture is the one of the core's own tests: a snapshot at index 3 of term 3, and the entries 4/4 and
//! 5/5 (index/term).

use std::path::Path;

use protobuf::Message;
use raft::eraftpb::{self, Entry, EntryType};
use raft::{GetEntriesContext, Storage, StorageError};
use seawall::raft_rs::{Error, GroupStorage};
use seawall::snapshots::snap::{self, Catalog, Offer, SnapshotId};
use seawall::snapshots::{Error as SnapshotsError, SnapshotOptions, Snapshots};
use seawall::{ConfState, Engine, EntryRef, HardState, Options, WriteBatch};
use tempfile::TempDir;

const GROUP: u64 = 7;

fn entry(index: u64, term: u64) -> Entry {
    let mut entry = Entry { index, term, ..Entry::default() };
    let small = usize::try_from(index).unwrap();
    entry.data = vec![b'd'; 7 * small].into();
    entry.context = vec![b'c'; small].into();
    entry
}

fn entries(list: &[(u64, u64)]) -> Vec<Entry> {
    list.iter().map(|&(index, term)| entry(index, term)).collect()
}

type Step = Box<dyn Fn(&GroupStorage, &mut WriteBatch)>;

fn append(list: &'static [(u64, u64)]) -> Step {
    Box::new(move |store, batch| store.append(batch, &entries(list)))
}

fn compact(index: u64) -> Step {
    Box::new(move |_, batch| {
        batch.compact(GROUP, index);
    })
}

/// Writes the fixture and then `steps` to a new engine, runs `check`, reopens the engine, and runs `check`
/// again.
fn check_twice(steps: Vec<Step>, check: impl Fn(&GroupStorage)) {
    let dir = TempDir::new().unwrap();
    let mut options = Options::default();
    options.log.segment_bytes = 1 << 20;
    let engine = Engine::create(dir.path(), &options).unwrap();
    let store = GroupStorage::new(&engine, GROUP);
    let mut batch = WriteBatch::new();
    batch.set_start(GROUP, 3, 3);
    drop(engine.write(&mut batch).unwrap());
    for step in [append(&[(4, 4), (5, 5)])].into_iter().chain(steps) {
        step(&store, &mut batch);
        if !batch.is_empty() {
            engine.write(&mut batch).unwrap().wait().unwrap();
        }
    }
    check(&store);
    engine.close().unwrap();
    let (engine, _) = Engine::open(dir.path(), &options).unwrap();
    let store = GroupStorage::new(&engine, GROUP);
    check(&store);
    assert!(store.fault().is_none());
    engine.close().unwrap();
}

fn get(store: &GroupStorage, low: u64, high: u64, limit: Option<u64>) -> raft::Result<Vec<u64>> {
    let got = store.entries(low, high, limit, GetEntriesContext::empty(false))?;
    for found in &got {
        assert_eq!(found, &entry(found.index, found.term));
    }
    Ok(got.iter().map(|e| e.index).collect())
}

/// Returns `(index, term)` of the compaction point and of every entry.
fn log(store: &GroupStorage) -> Vec<(u64, u64)> {
    let (first, last) = (store.first_index().unwrap(), store.last_index().unwrap());
    let mut log = vec![(first - 1, store.term(first - 1).unwrap())];
    for found in store.entries(first, last + 1, None, GetEntriesContext::empty(false)).unwrap() {
        assert_eq!(store.term(found.index).unwrap(), found.term);
        log.push((found.index, found.term));
    }
    assert_eq!(log.len() as u64, last + 2 - first);
    log
}

const COMPACTED: raft::Error = raft::Error::Store(StorageError::Compacted);
const UNAVAILABLE: raft::Error = raft::Error::Store(StorageError::Unavailable);

#[test]
fn term() {
    check_twice(vec![], |store| {
        assert_eq!(store.term(2), Err(COMPACTED));
        assert_eq!([3, 4, 5].map(|index| store.term(index).unwrap()), [3, 4, 5]);
        assert_eq!(store.term(6), Err(UNAVAILABLE));
    });
}

#[test]
fn entries_and_their_limits() {
    check_twice(vec![append(&[(6, 6)])], |store| {
        let [s4, s5, s6] = [4, 5, 6].map(|i| u64::from(entry(i, i).compute_size()));
        for (low, high, limit, expected) in [
            (2, 6, None, Err(COMPACTED)),
            (3, 4, None, Err(COMPACTED)),
            (4, 5, None, Ok(vec![4])),
            (4, 6, None, Ok(vec![4, 5])),
            (4, 7, None, Ok(vec![4, 5, 6])),
            (4, 7, Some(raft::NO_LIMIT), Ok(vec![4, 5, 6])),
            (4, 7, Some(0), Ok(vec![4])),
            (4, 7, Some(s4 + s5 - 1), Ok(vec![4])),
            (4, 7, Some(s4 + s5), Ok(vec![4, 5])),
            (4, 7, Some(s4 + s5 + s6 / 2), Ok(vec![4, 5])),
            (4, 7, Some(s4 + s5 + s6 - 1), Ok(vec![4, 5])),
            (4, 7, Some(s4 + s5 + s6), Ok(vec![4, 5, 6])),
            (4, 8, None, Err(UNAVAILABLE)),
        ] {
            assert_eq!(get(store, low, high, limit), expected, "[{low}, {high}) limit {limit:?}");
        }
    });
}

#[test]
fn first_and_last_index() {
    let ends = |store: &GroupStorage| (store.first_index().unwrap(), store.last_index().unwrap());
    check_twice(vec![], |store| assert_eq!(ends(store), (4, 5)));
    check_twice(vec![append(&[(6, 6)])], |store| assert_eq!(ends(store), (4, 6)));
    check_twice(vec![compact(4)], |store| assert_eq!(ends(store), (5, 5)));
}

#[test]
fn compaction() {
    for index in [2, 3] {
        let refused: Step = Box::new(move |store, batch| {
            batch.compact(GROUP, index);
            // The step writes the batch itself, because the write fails.
            assert!(matches!(write(store, batch), Err(seawall::Error::Compacted { point: 3, .. })));
            batch.clear();
        });
        check_twice(vec![refused], |store| assert_eq!(log(store), [(3, 3), (4, 4), (5, 5)]));
    }
    check_twice(vec![compact(4)], |store| {
        assert_eq!(store.first_index().unwrap(), 5);
        assert_eq!(log(store), [(4, 4), (5, 5)]);
        assert_eq!(store.term(3), Err(COMPACTED));
    });
    check_twice(vec![compact(5)], |store| {
        assert_eq!((store.first_index().unwrap(), store.last_index().unwrap()), (6, 5));
        assert_eq!(log(store), [(5, 5)]);
        assert_eq!(get(store, 5, 6, None), Err(COMPACTED));
    });
}

fn write(store: &GroupStorage, batch: &mut WriteBatch) -> Result<(), seawall::Error> {
    store.engine().write(batch).map(|_| ())
}

#[test]
fn appends_are_trimmed_as_the_core_means_them() {
    for (appended, expected) in [
        (&[(1, 1), (2, 2)][..], &[(3, 3), (4, 4), (5, 5)][..]),
        (&[(3, 3), (4, 4), (5, 5)], &[(3, 3), (4, 4), (5, 5)]),
        (&[(3, 3), (4, 6), (5, 6)], &[(3, 3), (4, 6), (5, 6)]),
        (&[(3, 3), (4, 4), (5, 5), (6, 5)], &[(3, 3), (4, 4), (5, 5), (6, 5)]),
        (&[(2, 3), (3, 3), (4, 5)], &[(3, 3), (4, 5)]),
        (&[(4, 5)], &[(3, 3), (4, 5)]),
        (&[(6, 5)], &[(3, 3), (4, 4), (5, 5), (6, 5)]),
    ] {
        check_twice(vec![append(appended)], |store| assert_eq!(log(store), expected, "{appended:?}"));
    }
    let gap: Step = Box::new(|store, batch| {
        store.append(batch, &entries(&[(7, 7)]));
        assert!(matches!(write(store, batch), Err(seawall::Error::Gap { index: 7, expected: 6, .. })));
        batch.clear();
    });
    check_twice(vec![gap], |store| assert_eq!(log(store), [(3, 3), (4, 4), (5, 5)]));
}

#[test]
fn the_initial_state_is_what_was_written() {
    let hard = eraftpb::HardState { term: 5, vote: 2, commit: 4, ..Default::default() };
    let conf = eraftpb::ConfState {
        voters: vec![1, 2, 3],
        learners: vec![4],
        voters_outgoing: vec![1, 5],
        learners_next: vec![5],
        auto_leave: true,
        ..Default::default()
    };
    let expected = (hard.clone(), conf.clone());
    let states: Step = Box::new(move |store, batch| {
        store.set_hard_state(batch, &hard);
        store.set_conf_state(batch, 4, &conf);
    });
    check_twice(vec![states], |store| {
        let state = store.initial_state().unwrap();
        assert_eq!((state.hard_state, state.conf_state), expected);
        assert_eq!(store.group().conf_state().unwrap().index, 4);
    });
    check_twice(vec![], |store| assert!(!store.initial_state().unwrap().initialized()));
}

#[test]
fn every_kind_of_entry_comes_back() {
    let kinds = [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2];
    let list: Vec<Entry> =
        (6..).zip(kinds).map(|(index, entry_type)| Entry { entry_type, ..entry(index, 6) }).collect();
    let written = list.clone();
    let step: Step = Box::new(move |store, batch| store.append(batch, &written));
    check_twice(vec![step], |store| {
        assert_eq!(store.entries(6, 9, None, GetEntriesContext::empty(false)).unwrap(), list);
    });
}

#[test]
fn snapshots_are_asked_for_again_later() {
    check_twice(vec![], |store| {
        assert_eq!(store.snapshot(0, 2).map(|_| ()), Err(LATER));
    });
}

const LATER: raft::Error = raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable);

/// Opens the group's snapshots in their own directory. Also returns the index from which a state machine
/// continues that has applied everything up to the fixture's start.
fn snapshots(store: &GroupStorage, dir: &Path) -> (Snapshots, u64) {
    let (catalog, _) = Catalog::open_dir(dir, &snap::Options::default()).unwrap();
    let options = SnapshotOptions::default();
    let (snapshots, start) = Snapshots::open(store.engine(), GROUP, &catalog, options, 3).unwrap();
    (snapshots, start.applied)
}

fn take(snapshots: &Snapshots, index: u64) {
    snapshots.take(index, b"", Box::new(move |to| to.write_all(&index.to_le_bytes()))).unwrap();
}

fn members() -> Step {
    let conf = eraftpb::ConfState { voters: vec![1, 2, 3], ..Default::default() };
    Box::new(move |store, batch| store.set_conf_state(batch, 3, &conf))
}

/// Tests that the store never serves a snapshot below the requested index, nor at an index at which none was
/// taken.
#[test]
fn a_snapshot_is_served_if_it_is_new_enough() {
    for (taken, request, served) in
        [(4, 0, Some(4)), (4, 4, Some(4)), (5, 5, Some(5)), (5, 4, Some(5)), (4, 5, None), (5, 6, None)]
    {
        let dir = TempDir::new().unwrap();
        let place = dir.path().to_owned();
        let at: Step = Box::new(move |store, _| take(&snapshots(store, &place).0, taken));
        check_twice(vec![members(), at], |store| {
            let (snapshots, applied) = snapshots(store, dir.path());
            assert_eq!(applied, taken);
            let store = store.clone().with_snapshots(snapshots.clone());
            match (store.snapshot(request, 2), served) {
                (Ok(snapshot), Some(index)) => {
                    let metadata = snapshot.get_metadata();
                    assert_eq!(
                        (metadata.index, metadata.term),
                        (index, index),
                        "term and index are alike here"
                    );
                    assert_eq!(metadata.get_conf_state().voters, [1, 2, 3]);
                    let offer = Offer::decode(&snapshot.data).unwrap();
                    assert_eq!(offer.id(), SnapshotId { group: GROUP, index, term: index });
                }
                (Err(error), None) => {
                    assert_eq!(error, LATER);
                    assert!(!snapshots.due(5.min(request - 1)) && snapshots.due(request), "one is due");
                }
                (result, _) => panic!("{taken} {request}: {result:?}"),
            }
        });
    }
}

/// Takes a snapshot at `index` of term `index` on another node, and sends it to `to`.
fn send(to: &Snapshots, index: u64) -> Result<SnapshotId, SnapshotsError> {
    let (log, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let engine = Engine::create(log.path().join("log"), &Options::default()).unwrap();
    let mut batch = WriteBatch::new();
    batch.set_start(GROUP, index, index);
    drop(engine.write(&mut batch).unwrap());
    let (catalog, _) = Catalog::open_dir(dir.path(), &snap::Options::default()).unwrap();
    let (from, _) = Snapshots::open(&engine, GROUP, &catalog, SnapshotOptions::default(), index).unwrap();
    take(&from, index);
    let export = from.catalog().export(from.served().unwrap().offer.id()).unwrap();
    if let Some(mut incoming) = to.receive(export.offer())? {
        export.pieces(0).unwrap().for_each(|piece| incoming.accept(&piece.unwrap()).unwrap());
        incoming.finish()?;
    }
    Ok(export.offer().id())
}

#[test]
fn an_installed_snapshot_is_the_start_of_the_log_and_an_older_one_is_out_of_date() {
    for (index, expected) in [(4, &[(4, 4), (5, 5)][..]), (9, &[(9, 9)])] {
        let dir = TempDir::new().unwrap();
        let place = dir.path().to_owned();
        let install: Step = Box::new(move |store, _| {
            let (snapshots, _) = snapshots(store, &place);
            let id = send(&snapshots, index).unwrap();
            assert_eq!(snapshots.install(id).unwrap().id(), id);
            for older in [3, 4] {
                let refused = send(&snapshots, older);
                assert!(matches!(refused, Err(SnapshotsError::OutOfDate { newest, .. }) if newest == index));
            }
        });
        check_twice(vec![install], |store| assert_eq!(log(store), expected));
    }
}

/// Tests a snapshot at an index where the log has another entry, so that this entry and those after it were
/// never committed.
#[test]
fn a_snapshot_in_the_middle_of_another_suffix_discards_it() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().to_owned();
    let install: Step = Box::new(move |store, _| {
        let (snapshots, _) = snapshots(store, &place);
        let id = send(&snapshots, 8).unwrap();
        snapshots.install(id).unwrap();
    });
    check_twice(vec![append(&[(6, 6), (7, 6), (8, 7), (9, 7), (10, 7)]), install], |store| {
        assert_eq!(log(store), [(8, 8)]);
    });
}

#[test]
fn what_is_no_entry_becomes_a_fault_and_no_panic() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::create(dir.path(), &Options::default()).unwrap();
    let mut batch = WriteBatch::new();
    batch.append(GROUP, &[EntryRef { index: 1, term: 1, payload: b"\x09what is this" }]);
    drop(engine.write(&mut batch).unwrap());
    for can_async in [false, true] {
        let store = GroupStorage::new(&engine, GROUP);
        let got = store.entries(1, 2, None, GetEntriesContext::empty(can_async));
        match can_async {
            false => assert_eq!(got, Ok(vec![])),
            true => assert_eq!(got, Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable))),
        }
        assert!(matches!(store.fault(), Some(Error::Entry { group: GROUP, index: 1, .. })));
    }
}

#[test]
fn a_group_is_bootstrapped_once_and_with_members_that_can_be() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::create(dir.path(), &Options::default()).unwrap();
    let store = GroupStorage::new(&engine, GROUP);
    let of = |voters: &[u64], learners: &[u64]| ConfState {
        voters: voters.to_vec(),
        learners: learners.to_vec(),
        ..ConfState::default()
    };
    let joint = ConfState { voters_outgoing: vec![1], ..of(&[1], &[]) };
    for bad in [of(&[], &[1]), of(&[0], &[]), of(&[1, 1], &[]), of(&[1], &[1]), joint] {
        assert!(matches!(store.bootstrap(&bad), Err(Error::Bootstrap { group: GROUP, .. })), "{bad:?}");
    }
    store.bootstrap(&of(&[1, 2], &[3])).unwrap();
    assert!(matches!(store.bootstrap(&of(&[1], &[])), Err(Error::Bootstrap { .. })));
    assert_eq!(store.initial_state().unwrap().conf_state.voters, [1, 2]);
    assert_eq!(store.group().hard_state(), HardState::default());
}
