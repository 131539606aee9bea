//! Tests the engine and its adapter for raft-rs with the public conformance suite, and tests that the suite
//! finds stores with a fault.

use bytes::Bytes;
use raft::{GetEntriesContext, Storage, StorageError};
use seawall::raft_rs::GroupStorage;
use seawall::testing::conformance::{Refusal, Store, check};
use seawall::{ConfState, Engine, Entry, EntryRef, Error, Group, HardState, Options, WriteBatch};
use tempfile::TempDir;

const GROUP: u64 = 7;

fn options() -> Options {
    let mut options = Options::default();
    options.log.segment_bytes = 256 << 10;
    options
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::Compacted { .. } => Refusal::Compacted,
        Error::Unavailable { .. } => Refusal::Unavailable,
        Error::Gap { .. } => Refusal::Gap,
        error => Refusal::Other(error.to_string()),
    }
}

fn out_of_date(refusal: Refusal) -> Refusal {
    if refusal == Refusal::Compacted { Refusal::OutOfDate } else { refusal }
}

/// A group of an engine in a directory.
struct OfEngine {
    dir: TempDir,
    engine: Engine,
    group: Group,
    fault: Fault,
}

/// The fault of a store.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    LimitBeforeTheFirst,
    TermOfThePointForgotten,
    CompactionAsNotFound,
    ReopenedWithoutHardState,
    PayloadOfAnother,
}

impl OfEngine {
    fn new(fault: Fault) -> OfEngine {
        let dir = TempDir::new().unwrap();
        let engine = Engine::create(dir.path(), &options()).unwrap();
        OfEngine { group: engine.group(GROUP), dir, engine, fault }
    }

    fn write(&self, fill: impl FnOnce(&mut WriteBatch)) -> Result<(), Refusal> {
        let mut batch = WriteBatch::new();
        fill(&mut batch);
        self.engine.write(&mut batch).map(drop).map_err(refusal)
    }
}

impl Store for OfEngine {
    const TRIMS: bool = false;

    fn append(&mut self, entries: &[Entry]) -> Result<(), Refusal> {
        let refs: Vec<_> = entries
            .iter()
            .map(|Entry { index, term, payload }| EntryRef { index: *index, term: *term, payload })
            .collect();
        self.write(|batch| _ = batch.append(GROUP, &refs))
    }

    fn compact(&mut self, index: u64) -> Result<(), Refusal> {
        let swapped = self.fault == Fault::CompactionAsNotFound;
        let answer = self.write(|batch| _ = batch.compact(GROUP, index));
        if swapped && answer.is_err() { Err(Refusal::Unavailable) } else { answer }
    }

    fn install_snapshot(&mut self, index: u64, term: u64) -> Result<(), Refusal> {
        self.write(|batch| _ = batch.set_start(GROUP, index, term)).map_err(out_of_date)
    }

    fn set_hard_state(&mut self, hard: HardState) -> Result<(), Refusal> {
        self.write(|batch| _ = batch.hard_state(GROUP, hard))
    }

    fn set_conf_state(&mut self, conf: &ConfState) -> Result<(), Refusal> {
        self.write(|batch| _ = batch.conf_state(GROUP, conf))
    }

    fn first_index(&self) -> u64 {
        self.group.first_index()
    }

    fn last_index(&self) -> u64 {
        self.group.last_index()
    }

    fn term(&self, index: u64) -> Result<u64, Refusal> {
        if self.fault == Fault::TermOfThePointForgotten && index + 1 == self.first_index() {
            return Err(Refusal::Compacted);
        }
        self.group.term(index).map_err(refusal)
    }

    fn entries(&self, low: u64, high: u64, max_bytes: Option<u64>) -> Result<Vec<Entry>, Refusal> {
        if self.fault == Fault::LimitBeforeTheFirst && max_bytes == Some(0) {
            return Ok(Vec::new());
        }
        let mut entries = self.group.entries(low, high, max_bytes).map_err(refusal)?;
        if let (Fault::PayloadOfAnother, [first, .., last]) = (self.fault, &mut entries[..]) {
            last.payload = first.payload.clone();
        }
        Ok(entries)
    }

    fn hard_state(&self) -> HardState {
        self.group.hard_state()
    }

    fn conf_state(&self) -> Option<ConfState> {
        self.group.conf_state().as_deref().cloned()
    }

    fn reopen(self) -> OfEngine {
        if self.fault == Fault::ReopenedWithoutHardState && self.hard_state() != HardState::default() {
            return OfEngine::new(self.fault);
        }
        self.engine.close().unwrap();
        let (engine, _) = Engine::open(self.dir.path(), &options()).unwrap();
        OfEngine { group: engine.group(GROUP), engine, ..self }
    }
}

/// The same group, used through the adapter.
struct OfAdapter {
    inner: OfEngine,
    store: GroupStorage,
}

impl OfAdapter {
    fn new(inner: OfEngine) -> OfAdapter {
        OfAdapter { store: GroupStorage::new(&inner.engine, GROUP), inner }
    }
}

fn raft_entry(entry: &Entry) -> raft::eraftpb::Entry {
    let data = entry.payload.to_vec().into();
    raft::eraftpb::Entry { index: entry.index, term: entry.term, data, ..Default::default() }
}

fn raft_refusal(error: raft::Error) -> Refusal {
    match error {
        raft::Error::Store(StorageError::Compacted) => Refusal::Compacted,
        raft::Error::Store(StorageError::Unavailable) => Refusal::Unavailable,
        error => Refusal::Other(error.to_string()),
    }
}

impl Store for OfAdapter {
    const TRIMS: bool = true;

    fn append(&mut self, entries: &[Entry]) -> Result<(), Refusal> {
        let mut batch = WriteBatch::new();
        self.store.append(&mut batch, &entries.iter().map(raft_entry).collect::<Vec<_>>());
        if batch.is_empty() {
            return Ok(());
        }
        self.inner.engine.write(&mut batch).map(drop).map_err(refusal)
    }

    fn compact(&mut self, index: u64) -> Result<(), Refusal> {
        self.inner.compact(index)
    }

    fn install_snapshot(&mut self, index: u64, term: u64) -> Result<(), Refusal> {
        self.inner.install_snapshot(index, term)
    }

    fn set_hard_state(&mut self, hard: HardState) -> Result<(), Refusal> {
        self.inner.write(|batch| {
            let HardState { term, vote, commit } = hard;
            let hard = raft::eraftpb::HardState { term, vote, commit, ..Default::default() };
            self.store.set_hard_state(batch, &hard);
        })
    }

    fn set_conf_state(&mut self, conf: &ConfState) -> Result<(), Refusal> {
        self.inner.set_conf_state(conf)
    }

    fn first_index(&self) -> u64 {
        self.store.first_index().unwrap()
    }

    fn last_index(&self) -> u64 {
        self.store.last_index().unwrap()
    }

    fn term(&self, index: u64) -> Result<u64, Refusal> {
        self.store.term(index).map_err(raft_refusal)
    }

    fn entries(&self, low: u64, high: u64, max_bytes: Option<u64>) -> Result<Vec<Entry>, Refusal> {
        let context = GetEntriesContext::empty(false);
        let entries = self.store.entries(low, high, max_bytes, context).map_err(raft_refusal)?;
        let plain = |e: raft::eraftpb::Entry| Entry {
            index: e.index,
            term: e.term,
            payload: Bytes::copy_from_slice(&e.data),
        };
        Ok(entries.into_iter().map(plain).collect())
    }

    fn hard_state(&self) -> HardState {
        let state = self.store.initial_state().unwrap().hard_state;
        // The adapter tells the core a commit index of at least the compaction point.
        let commit = self.inner.group.hard_state().commit;
        assert_eq!(state.commit, commit.max(self.inner.group.compaction_point().0));
        HardState { term: state.term, vote: state.vote, commit }
    }

    fn conf_state(&self) -> Option<ConfState> {
        let conf = self.inner.conf_state();
        let known = self.store.initial_state().unwrap().conf_state;
        assert_eq!(known.voters, conf.as_ref().map(|conf| conf.voters.clone()).unwrap_or_default());
        conf
    }

    fn size(&self, entry: &Entry) -> u64 {
        u64::from(protobuf::Message::compute_size(&raft_entry(entry)))
    }

    fn reopen(self) -> OfAdapter {
        let OfAdapter { inner, store } = self;
        drop(store);
        OfAdapter::new(inner.reopen())
    }
}

#[test]
fn the_engine_conforms() {
    check(|| OfEngine::new(Fault::None)).unwrap();
}

#[test]
fn the_adapter_for_raft_rs_conforms() {
    check(|| OfAdapter::new(OfEngine::new(Fault::None))).unwrap();
}

#[test]
fn a_store_with_a_fault_is_found_out() {
    for (fault, what) in [
        (Fault::LimitBeforeTheFirst, "limit Some(0)"),
        (Fault::TermOfThePointForgotten, "the term of"),
        (Fault::CompactionAsNotFound, "the answer to Compact"),
        (Fault::ReopenedWithoutHardState, "reopen"),
        (Fault::PayloadOfAnother, "the range"),
    ] {
        let violation = check(|| OfEngine::new(fault)).expect_err("a fault");
        assert!(violation.to_string().contains(what), "{fault:?}: {violation}");
        assert_eq!(violation.reopened, fault == Fault::ReopenedWithoutHardState, "{violation}");
    }
}
