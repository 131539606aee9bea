//! What the core asks of its store, answered by one group of the engine.
//! Place on the data's way: below the core; everything but payloads comes from memory.
//! Invariants: no answer makes the core panic. What it could not bear (a damaged entry, a failed read) is
//! kept as a *fault*, the core gets "nothing at the moment", and the pump stops before anything rests on it.
//! Fails: `Compacted` and `Unavailable` as the core expects them; everything else through the fault.

use std::sync::Arc;

use parking_lot::Mutex;
use raft::eraftpb::{self, Entry};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::adapters::raft_rs::async_fetch::AsyncFetches;
use crate::adapters::raft_rs::codec;
use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::{read, snapshot_offer};
use crate::engine::{Engine, Group};
use crate::error::Error as EngineError;
use crate::snapshots::Snapshots;
use crate::types::{ConfState, EntryRef, GroupId, HardState};
use crate::write::WriteBatch;

/// One group as the core's `Storage`. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct GroupStorage {
    engine: Engine,
    group: Group,
    fault: Arc<Mutex<Option<Error>>>,
    /// A read for a Ready found no file descriptor; `None` while no Ready is being made.
    hindered: Arc<Mutex<Option<bool>>>,
    snapshots: Option<Snapshots>,
    fetches: Option<Arc<AsyncFetches>>,
}

impl GroupStorage {
    /// The storage of group `id`, whether it exists or not.
    pub fn new(engine: &Engine, id: GroupId) -> GroupStorage {
        GroupStorage {
            engine: engine.clone(),
            group: engine.group(id),
            fault: Arc::default(),
            hindered: Arc::default(),
            snapshots: None,
            fetches: None,
        }
    }

    /// The same, and it gives the core the group's snapshots.
    pub fn with_snapshots(self, snapshots: Snapshots) -> GroupStorage {
        GroupStorage { snapshots: Some(snapshots), ..self }
    }

    /// The same, and what the core can wait for is read by another thread, if memory does not have it. Who does this
    /// delivers what was fetched.
    pub(super) fn with_fetches(self, fetches: Arc<AsyncFetches>) -> GroupStorage {
        GroupStorage { fetches: Some(fetches), ..self }
    }

    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Makes `conf` the members of a group that has none; they are durable when this returns. To be done
    /// once, with the same members, on every node that the group starts with. A node that is added later
    /// [joins](GroupStorage::join).
    ///
    /// # Errors
    /// [`Error::Bootstrap`] if the group has members or entries, or if `conf` has no voter, a member 0,
    /// a member twice, or is a joint one; or the engine's error.
    pub fn bootstrap(&self, conf: &ConfState) -> Result<()> {
        let group = self.group.id();
        let mut members: Vec<u64> = conf.voters.iter().chain(&conf.learners).copied().collect();
        members.sort_unstable();
        let twice = members.windows(2).any(|pair| pair.first() == pair.last());
        let joint = !conf.voters_outgoing.is_empty() || !conf.learners_next.is_empty() || conf.auto_leave;
        let reason = match self.in_use() {
            Some(reason) => reason,
            None if conf.voters.is_empty() => "no voter is given",
            None if members.contains(&0) => "0 is not a member's id",
            None if twice => "a member is given twice",
            None if joint => "the members given are a joint configuration",
            None => {
                let mut batch = WriteBatch::new();
                batch.conf_state(group, &ConfState { index: 0, ..conf.clone() });
                self.engine.write(&mut batch)?.wait().map_err(EngineError::Log)?;
                return Ok(());
            }
        };
        Err(Error::Bootstrap { group, reason })
    }

    /// Why this group cannot be started here: it was already.
    pub(super) fn in_use(&self) -> Option<&'static str> {
        match self.group.conf_state() {
            Some(members) if members.voters.is_empty() => Some("this node joins it"),
            Some(_) => Some("it has members"),
            None if self.group.last_index() > 0 => Some("it has entries"),
            None => None,
        }
    }

    /// Adds `entries` to `batch`, as the core means it: those at or below the compaction point are left
    /// out, the log is cut off before the first of the others.
    ///
    /// Refused on write: a gap, terms that decrease. An entry in a gap is not noticed before.
    pub fn append(&self, batch: &mut WriteBatch, entries: &[Entry]) {
        let (point, _) = self.group.compaction_point();
        let kept = || entries.iter().filter(|entry| entry.index > point);
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(entries.len());
        for entry in kept() {
            codec::encode(entry, &mut bytes);
            ends.push(bytes.len());
        }
        let mut refs = Vec::with_capacity(ends.len());
        let mut start = 0;
        for (entry, end) in kept().zip(ends) {
            let payload = bytes.get(start..end).unwrap_or_default();
            refs.push(EntryRef { index: entry.index, term: entry.term, payload });
            start = end;
        }
        batch.append(self.group.id(), &refs);
    }

    /// Adds `hard` to `batch`.
    pub fn set_hard_state(&self, batch: &mut WriteBatch, hard: &eraftpb::HardState) {
        batch.hard_state(self.group.id(), hard_state(hard));
    }

    /// Adds to `batch` that entry `index` made `conf` the members.
    pub fn set_conf_state(&self, batch: &mut WriteBatch, index: u64, conf: &eraftpb::ConfState) {
        let conf = ConfState {
            voters: conf.voters.clone(),
            learners: conf.learners.clone(),
            voters_outgoing: conf.voters_outgoing.clone(),
            learners_next: conf.learners_next.clone(),
            auto_leave: conf.auto_leave,
            index,
        };
        batch.conf_state(self.group.id(), &conf);
    }

    /// What went wrong in a read, and could not be told the core. Who drives a core without a
    /// [`Pump`](super::Pump) asks after every call of it, and stops if there is something.
    pub fn fault(&self) -> Option<Error> {
        self.fault.lock().clone()
    }

    /// What `make` makes of the core, a Ready; and whether it lacks committed entries that could not be read for want of
    /// a file descriptor. The core gives them with a later Ready.
    pub(super) fn for_ready<T>(&self, make: impl FnOnce() -> T) -> (T, bool) {
        *self.hindered.lock() = Some(false);
        let ready = make();
        (ready, self.hindered.lock().take().unwrap_or(false))
    }

    /// A read found no file descriptor. Says whether the core can do without what it asked for: it can wait, or it
    /// makes a Ready, which has fewer entries then.
    fn hinder(&self, waits: bool) -> bool {
        let mut hindered = self.hindered.lock();
        let ready = hindered.is_some();
        if ready && !waits {
            *hindered = Some(true);
        }
        waits || ready
    }

    /// Keeps what the core could not be told.
    pub(super) fn failed(&self, error: Error) {
        self.fault.lock().get_or_insert(error);
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Storage for GroupStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let HardState { term, vote, commit } = self.group.hard_state();
        // What was compacted was committed, whether a hard state said so or not; the core panics otherwise.
        let commit = commit.max(self.group.compaction_point().0);
        let hard = eraftpb::HardState { term, vote, commit, ..Default::default() };
        let conf = self.group.conf_state().map(|members| snapshot_offer::core_members(&members));
        Ok(RaftState::new(hard, conf.unwrap_or_default()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let (limit, waits) = (max_size.into(), context.can_async());
        let found = match self.fetches.as_ref().filter(|_| waits) {
            Some(fetches) => fetches.entries(&self.engine, &self.group, low..high, limit, context),
            None => read::entries(&self.group, low, high, limit).map(Some),
        };
        match found {
            Ok(Some(entries)) => Ok(entries),
            Ok(None) => Err(StorageError::LogTemporarilyUnavailable.into()),
            Err(Error::Engine(EngineError::Compacted { .. })) => Err(StorageError::Compacted.into()),
            Err(Error::Engine(EngineError::Unavailable { .. })) => Err(StorageError::Unavailable.into()),
            Err(error) => {
                if !(error.is_no_space() && self.hinder(waits)) {
                    self.failed(error);
                }
                // The core panics at any error where it cannot wait; "limit reached" it takes anywhere.
                if waits { Err(StorageError::LogTemporarilyUnavailable.into()) } else { Ok(Vec::new()) }
            }
        }
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.group.term(index).map_err(|error| match error {
            EngineError::Compacted { .. } => StorageError::Compacted.into(),
            _ => StorageError::Unavailable.into(),
        })
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.group.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.group.last_index())
    }

    /// An offer of the newest snapshot, if it goes up to `request_index` and to the newest change of the members, and has
    /// `to` among them; else "temporarily unavailable": one is due from now on, and the core asks again.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        let served = self.snapshots.as_ref().and_then(|snapshots| snapshots.serve_to(to, request_index));
        match served.as_ref().and_then(snapshot_offer::offered) {
            Some(snapshot) => Ok(snapshot),
            None => Err(StorageError::SnapshotTemporarilyUnavailable.into()),
        }
    }
}

/// The core's hard state as the engine's.
pub(super) fn hard_state(hard: &eraftpb::HardState) -> HardState {
    HardState { term: hard.term, vote: hard.vote, commit: hard.commit }
}
