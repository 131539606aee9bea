//! A log store for the crate `openraft`, 0.10, on one group of this engine.
//!
//! The core writes through [`LogStore`] and reads through [`LogReader`]. Appended entries can be read as soon
//! as `append` returns. The callback of an append comes once the entries are durable, in order, and is never
//! dropped. A vote is durable when `save_vote` returns. After an error the core stops.
//!
//! ```no_run
//! # use seawall::openraft::openraft;
//! # openraft::declare_raft_types!(pub TypeConfig: D = String, R = String, AsyncRuntime = openraft_rt_tokio::TokioRuntime);
//! use seawall::openraft::{LogOptions, LogStore, LogStores};
//! use seawall::{Engine, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::create("/var/lib/node/log", &Options::default())?;
//! let logs = LogStores::new(&engine, LogOptions::default())?; // one per engine
//! let store: LogStore<TypeConfig> = LogStore::open(&logs, 7)?; // one per group, for `Raft::new`
//! # Ok(())
//! # }
//! ```
//!
//! Copy `examples/openraft_node.rs` to start.
//!
//! **Types.** Any `RaftTypeConfig` works: entries and votes are stored through `Serialize`, as MessagePack with
//! field names. A field that is added later needs `#[serde(default)]`. A `Vec<u8>` is stored byte by byte, with
//! up to twice its length; `serde_bytes` stores it in one piece. This module does not work with openraft's
//! feature `single-threaded`.
//!
//! **Threads.** No call blocks a thread of the runtime on the disk. The log's own thread answers appends, votes
//! are awaited, and the threads of [`LogStores`] read entries that are not in memory. Only [`LogStore::open`]
//! reads on the calling thread: one entry per leader in the log.
//!
//! **Stopping.** Shut the cores down, then close the engine, which answers calls in progress. After the
//! engine's first failed write every call and callback gets the error (INV-7), and the core stops; open the
//! engine again. A full disk is an error too ([`Error::is_back_pressure`]), but only of that call: nothing was
//! written, and a new core on a new store of the same engine continues once there is space.
//!
//! **Groups.** The id of a group is below 2^63 - 1. Its vote and purged log id are in a second group, with that
//! id plus 2^63 ([`OPENRAFT_STATE_GROUPS`](crate::inspect::OPENRAFT_STATE_GROUPS)).
//! [`Engine::groups`](crate::Engine::groups) lists both, and `walinspect` names the second as the vote of the
//! first.
//!
//! **Abandoned calls.** If the future of a call was polled once and is dropped before it is ready, the call is
//! still carried out, in its place in the order of the calls.
//!
//! **Snapshots.** The state machine keeps the snapshots; `SnapshotStore` (with the feature `snapshots`) does most of it.
//! The core calls `purge` when there is one, which frees
//! the log up to it.

use std::fmt::{self, Debug};
use std::io;
use std::marker::PhantomData;
use std::ops::{RangeBounds, RangeInclusive};

use ::openraft::entry::RaftEntry;
use ::openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use ::openraft::vote::RaftLeaderId;
use ::openraft::{LogId, OptionalSend, RaftTypeConfig};

use crate::adapters::openraft::error::Result;
use crate::adapters::openraft::log::open::Types;
use crate::adapters::openraft::log::read::LogReads;
use crate::adapters::openraft::log::write::LogWrites;
use crate::adapters::openraft::log_id::Id;
use crate::types::GroupId;

pub use crate::adapters::openraft::codec::CodecError;
pub use crate::adapters::openraft::error::Error;
#[cfg(feature = "snapshots")]
pub use crate::adapters::openraft::snapshots::SnapshotStore;
pub use crate::adapters::openraft::stores::{LogOptions, LogStores};
pub use ::openraft;

type Leader<C> = <<C as RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed;

struct Version<C>(PhantomData<C>);

impl<C: RaftTypeConfig> Types for Version<C> {
    type Leader = Leader<C>;
    type Vote = C::Vote;
    type Entry = C::Entry;

    fn id(entry: &C::Entry) -> Id<Leader<C>> {
        let (leader, index) = entry.log_id_parts();
        Id { leader: leader.clone(), index }
    }
}

/// The log of one group and its vote, for [`openraft::Raft::new`]. A group has one at a time.
pub struct LogStore<C: RaftTypeConfig>(LogWrites<Version<C>>);

/// Reads the log of one group. Appended entries are visible as soon as `append` returns.
pub struct LogReader<C: RaftTypeConfig>(LogReads<Version<C>>);

impl<C: RaftTypeConfig> LogStore<C> {
    /// Opens the log of group `group`, whose id is below 2^63 - 1, whether it exists or not. Reads one entry
    /// per leader in the log, on the calling thread.
    ///
    /// # Errors
    /// [`Error::GroupNumber`], [`Error::AlreadyOpen`]; [`Error::Entry`], [`Error::State`], [`Error::Misplaced`]
    /// and [`Error::Purged`] if this adapter did not write the stored data with these types; or an error of the
    /// engine.
    pub fn open(logs: &LogStores, group: GroupId) -> std::result::Result<LogStore<C>, Error> {
        LogWrites::open(logs, group).map(LogStore)
    }

    /// Returns a handle for reading.
    pub fn reader(&self) -> LogReader<C> {
        LogReader(self.0.reads())
    }
}

impl<C: RaftTypeConfig> RaftLogStorage<C> for LogStore<C> {
    type LogReader = LogReader<C>;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let ends = self.0.reads().ends();
        Ok(LogState { last_purged_log_id: ends.purged.map(log_id), last_log_id: ends.last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> LogReader<C> {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &C::Vote) -> io::Result<()> {
        Ok(self.0.save_vote(vote.clone()).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogId<Leader<C>>>) -> io::Result<()> {
        Ok(self.0.save_committed(committed.map(|id| id.index)).await?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId<Leader<C>>>> {
        Ok(self.0.reads().committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let callback = move |result: Result<()>| callback.io_completed(result.map_err(io::Error::from));
        Ok(self.0.append(entries.into_iter().collect(), Box::new(callback)).await?)
    }

    async fn truncate_after(&mut self, last: Option<LogId<Leader<C>>>) -> io::Result<()> {
        Ok(self.0.truncate(last.map_or(0, |id| id.index.saturating_add(1))).await?)
    }

    async fn purge(&mut self, id: LogId<Leader<C>>) -> io::Result<()> {
        Ok(self.0.purge(Id { leader: id.leader_id, index: id.index }).await?)
    }
}

impl<C: RaftTypeConfig> RaftLogReader<C> for LogReader<C> {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<C::Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.0.entries((range.start_bound().cloned(), range.end_bound().cloned())).await?)
    }

    async fn read_vote(&mut self) -> io::Result<Option<C::Vote>> {
        Ok(self.0.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<C::Entry>> {
        Ok(self.0.some_entries(start, end).await?)
    }

    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<LogId<Leader<C>>>,
    ) -> io::Result<Vec<LogId<Leader<C>>>> {
        // The last log id of each leader, like the core's own search.
        let ids = self.0.last_of_each_leader(range.start().index, range.end().index);
        Ok(ids.into_iter().map(log_id).collect())
    }
}

impl<C: RaftTypeConfig> Clone for LogReader<C> {
    fn clone(&self) -> LogReader<C> {
        LogReader(self.0.clone())
    }
}

impl<C: RaftTypeConfig> fmt::Debug for LogStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogStore").field(&self.0.reads().ends()).finish()
    }
}

impl<C: RaftTypeConfig> fmt::Debug for LogReader<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogReader").field(&self.0.ends()).finish()
    }
}

fn log_id<L: ::openraft::vote::RaftCommittedLeaderId>(id: Id<L>) -> LogId<L> {
    LogId { leader_id: id.leader, index: id.index }
}
