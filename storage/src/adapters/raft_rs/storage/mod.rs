//! Implements the storage trait of the core on one group of the engine.
//!
//! Everything except payloads is answered from memory. No answer makes the core panic: an error that the core
//! cannot handle, such as a damaged entry or a failed read, is kept as a *fault*. The core then gets an empty
//! answer, and the pump stops before anything depends on it. `Compacted` and `Unavailable` are returned to the
//! core.

pub(crate) mod async_fetch;
mod read;

use std::sync::Arc;

use parking_lot::Mutex;
use raft::eraftpb::{self, Entry};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::adapters::raft_rs::codec;
use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::snapshot_offer;
use crate::adapters::raft_rs::storage::async_fetch::AsyncFetches;
use crate::engine::{Engine, Group};
use crate::error::Error as EngineError;
use crate::snapshots::Snapshots;
use crate::types::{ConfState, EntryRef, GroupId, HardState};
use crate::write::WriteBatch;

/// The storage of one group for the core. A clone is another handle of the same storage.
#[derive(Clone, Debug)]
pub struct GroupStorage {
    engine: Engine,
    group: Group,
    fault: Arc<Mutex<Option<Error>>>,
    /// Whether a read for the current Ready failed for lack of a file descriptor; `None` while no Ready is
    /// being made.
    hindered: Arc<Mutex<Option<bool>>>,
    snapshots: Option<Snapshots>,
    fetches: Option<Arc<AsyncFetches>>,
}

impl GroupStorage {
    /// Returns the storage of group `id`, whether the group exists or not.
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

    /// Returns this storage with `snapshots`, which it offers to the core.
    pub fn with_snapshots(self, snapshots: Snapshots) -> GroupStorage {
        GroupStorage { snapshots: Some(snapshots), ..self }
    }

    /// Returns this storage with asynchronous reads: if the core can wait and memory does not have the entries,
    /// another thread reads them. The caller must deliver the results ([`AsyncFetches::deliver`]).
    pub(super) fn with_fetches(self, fetches: Arc<AsyncFetches>) -> GroupStorage {
        GroupStorage { fetches: Some(fetches), ..self }
    }

    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Makes `conf` the members of a group that has none; they are durable when this returns. Call it once,
    /// with the same members, on every node that the group starts with. A node that is added later
    /// [joins](GroupStorage::join).
    ///
    /// # Errors
    /// [`Error::Bootstrap`] if the group has members or entries, or if `conf` has no voter, a member with id 0,
    /// a duplicate member, or is a joint configuration; or an error of the engine.
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

    /// Why this group cannot be started on this node: it already was. `None` if it can be started.
    pub(super) fn in_use(&self) -> Option<&'static str> {
        match self.group.conf_state() {
            Some(members) if members.voters.is_empty() => Some("this node joins it"),
            Some(_) => Some("it has members"),
            None if self.group.last_index() > 0 => Some("it has entries"),
            None => None,
        }
    }

    /// Adds `entries` to `batch`. Entries at or below the compaction point are left out, and the log is
    /// truncated before the first of the others.
    ///
    /// A gap or a decreasing term is not noticed here; the engine refuses it when the batch is written.
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

    /// Adds the hard state `hard` to `batch`.
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

    /// Returns the first error that could not be returned to the core. If you drive a core without a
    /// [`Pump`](super::Pump), check this after every call of the core, and stop if it is set.
    pub fn fault(&self) -> Option<Error> {
        self.fault.lock().clone()
    }

    /// Calls `make`, which makes a Ready of the core. Also returns whether the Ready lacks committed entries
    /// that could not be read for lack of a file descriptor; the core includes them in a later Ready.
    pub(super) fn for_ready<T>(&self, make: impl FnOnce() -> T) -> (T, bool) {
        *self.hindered.lock() = Some(false);
        let ready = make();
        (ready, self.hindered.lock().take().unwrap_or(false))
    }

    /// Notes that a read found no file descriptor. Returns whether the core can do without the result: it can
    /// wait, or it is making a Ready, which then has fewer entries.
    fn hinder(&self, waits: bool) -> bool {
        let mut hindered = self.hindered.lock();
        let ready = hindered.is_some();
        if ready && !waits {
            *hindered = Some(true);
        }
        waits || ready
    }

    /// Keeps an error that cannot be returned to the core.
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
        // Compacted entries were committed, even if no hard state recorded it; the core panics otherwise.
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
                if !(error.is_back_pressure() && self.hinder(waits)) {
                    self.failed(error);
                }
                // Where the core cannot wait, it panics at any error, but accepts a result that ends early.
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

    /// Returns an offer of the newest snapshot, if it covers `request_index` and the newest membership change
    /// and has `to` as a member. Otherwise returns "temporarily unavailable": a snapshot becomes due, and the
    /// core asks again.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        let served = self.snapshots.as_ref().and_then(|snapshots| snapshots.serve_to(to, request_index));
        match served.as_ref().and_then(snapshot_offer::offered) {
            Some(snapshot) => Ok(snapshot),
            None => Err(StorageError::SnapshotTemporarilyUnavailable.into()),
        }
    }
}

/// Converts the hard state of the core to that of the engine.
pub(super) fn hard_state(hard: &eraftpb::HardState) -> HardState {
    HardState { term: hard.term, vote: hard.vote, commit: hard.commit }
}
