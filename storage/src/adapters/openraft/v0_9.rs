//! A log store for the crate `openraft`, 0.9 with version 2 of its storage traits, on one group of this engine.
//!
//! The core writes through [`LogStore`] and reads through [`LogReader`]. Appended entries can be read as soon
//! as `append` returns. The callback of an append comes once the entries are durable, in order, and is never
//! dropped. A vote is durable when `save_vote` returns. After an error the core stops.
//!
//! The documentation of the module `openraft` of this crate, for 0.10, applies to types, threads, groups,
//! stopping and snapshots, and the encoding in the log is the same. The two are still not interchangeable,
//! because `openraft` renamed the fields of an entry.
//!
//! ```no_run
//! # use std::io::Cursor;
//! # use seawall::openraft_09::openraft;
//! # openraft::declare_raft_types!(pub TypeConfig: D = String, R = String);
//! use seawall::openraft_09::{LogOptions, LogStore, LogStores};
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
//! openraft 0.9 waits for each append before it starts the next, so one group has one flush in flight; many
//! groups have many.

use std::fmt::{self, Debug};
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use ::openraft_09::storage::{LogFlushed, LogState, RaftLogStorage};
use ::openraft_09::{
    AnyError, CommittedLeaderId, LogId, OptionalSend, RaftLogId, RaftLogReader, RaftTypeConfig, StorageError,
    StorageIOError, Vote,
};

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
pub use ::openraft_09 as openraft;

type Leader<C> = CommittedLeaderId<<C as RaftTypeConfig>::NodeId>;
type Stored<C, T> = std::result::Result<T, StorageError<<C as RaftTypeConfig>::NodeId>>;

struct Version<C>(PhantomData<C>);

impl<C: RaftTypeConfig> Types for Version<C> {
    type Leader = Leader<C>;
    type Vote = Vote<C::NodeId>;
    type Entry = C::Entry;

    fn id(entry: &C::Entry) -> Id<Leader<C>> {
        let id = entry.get_log_id();
        Id { leader: id.leader_id.clone(), index: id.index }
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

    async fn get_log_state(&mut self) -> Stored<C, LogState<C>> {
        let ends = self.0.reads().ends();
        Ok(LogState { last_purged_log_id: ends.purged.map(log_id), last_log_id: ends.last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> LogReader<C> {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote<C::NodeId>) -> Stored<C, ()> {
        let saved = self.0.save_vote(vote.clone()).await;
        saved.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Stored<C, Option<Vote<C::NodeId>>> {
        Ok(self.0.reads().vote())
    }

    async fn save_committed(&mut self, committed: Option<LogId<C::NodeId>>) -> Stored<C, ()> {
        let saved = self.0.save_committed(committed.map(|id| id.index)).await;
        saved.map_err(|error| StorageIOError::write(AnyError::new(&error)).into())
    }

    async fn read_committed(&mut self) -> Stored<C, Option<LogId<C::NodeId>>> {
        Ok(self.0.reads().committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<C>) -> Stored<C, ()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let callback = move |result: Result<()>| callback.log_io_completed(result.map_err(io::Error::from));
        let appended = self.0.append(entries.into_iter().collect(), Box::new(callback)).await;
        appended.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }

    async fn truncate(&mut self, id: LogId<C::NodeId>) -> Stored<C, ()> {
        let truncated = self.0.truncate(id.index).await;
        truncated.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }

    async fn purge(&mut self, id: LogId<C::NodeId>) -> Stored<C, ()> {
        let purged = self.0.purge(Id { leader: id.leader_id, index: id.index }).await;
        purged.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }
}

/// The storage trait requires this implementation: the writer of the log also reads it.
impl<C: RaftTypeConfig> RaftLogReader<C> for LogStore<C> {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Stored<C, Vec<C::Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.reader().try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Stored<C, Vec<C::Entry>> {
        self.reader().limited_get_log_entries(start, end).await
    }
}

impl<C: RaftTypeConfig> RaftLogReader<C> for LogReader<C> {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Stored<C, Vec<C::Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        let read = self.0.entries(range).await;
        read.map_err(|error| StorageIOError::read_logs(AnyError::new(&error)).into())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Stored<C, Vec<C::Entry>> {
        let read = self.0.some_entries(start, end).await;
        read.map_err(|error| StorageIOError::read_logs(AnyError::new(&error)).into())
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

fn log_id<N: ::openraft_09::NodeId>(id: Id<CommittedLeaderId<N>>) -> LogId<N> {
    LogId { leader_id: id.leader, index: id.index }
}
