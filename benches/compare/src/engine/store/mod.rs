//! The interface to engines with many groups. Each engine is driven as its documentation recommends.
//!
//! A writer is the reusable batch of one thread: it is filled with entries and compaction points of any groups, then
//! submitted as one atomic write. Groups count from 1, indexes from 1, and every term is 1. An error of an engine ends
//! the run, because its figures would mean nothing.
//! the run: a figure of an engine that failed means nothing.

mod raft_engine;
mod seawall;

use anyhow::Result;
use bytes::Bytes;
use std::path::Path;

pub(crate) use self::raft_engine::RaftEngine;
pub(crate) use self::seawall::Seawall;

/// Settings that rows choose. All others are the engines' defaults, or those of `seawall_compare::raft_engine`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Size of Seawall's segments, in bytes.
    pub(crate) segment_bytes: u32,
    /// Size of raft-engine's files, in bytes.
    pub(crate) file_bytes: u64,
    /// Total size above which raft-engine purges, in bytes; `None` for never.
    pub(crate) purge_bytes: Option<u64>,
    /// Whether files are prepared before the load, like those of a node that has run for a while: raft-engine fills the
    /// files that it recycles, and Seawall gets time to prepare its spares.
    pub(crate) run_in: bool,
    /// Seawall's option of this name: above it, live entries are copied out of old segments; `None` for never.
    pub(crate) slack_bytes: Option<usize>,
    /// Seawall's option of this name.
    pub(crate) cache_bytes: usize,
    /// Seawall's option of this name.
    pub(crate) map_sealed: bool,
}

impl Default for Setup {
    /// The engines' own defaults; raft-engine's files are 128 MiB.
    fn default() -> Setup {
        let options = ::seawall::Options::default();
        Setup {
            segment_bytes: options.log.segment_bytes,
            file_bytes: 128 << 20,
            purge_bytes: None,
            run_in: false,
            slack_bytes: Some(options.slack_bytes),
            cache_bytes: options.cache_bytes,
            map_sealed: options.map_sealed,
        }
    }
}

/// An engine in a directory of its own.
pub(crate) trait Store: Sync + Sized {
    /// Name in tables.
    const NAME: &'static str;
    /// The reusable batch of one thread.
    type Writer: Send;
    /// A write that may not be durable yet.
    type Ticket: Send;

    /// Creates an engine in `dir`, which does not exist.
    fn create(dir: &Path, setup: &Setup) -> Result<Self>;
    /// Opens the engine in `dir`.
    fn open(dir: &Path, setup: &Setup) -> Result<Self>;
    /// Closes the engine cleanly.
    fn close(self) -> Result<()>;

    /// Creates a batch for one thread.
    fn writer(&self) -> Self::Writer;
    /// Adds `count` entries from index `first` on, each with this payload.
    fn append(writer: &mut Self::Writer, group: u64, first: u64, count: u64, payload: &Bytes) -> Result<()>;
    /// Adds the compaction of all entries up to and including `index`.
    fn compact(writer: &mut Self::Writer, group: u64, index: u64);
    /// Writes the batch and leaves it empty. The write is durable once waited for.
    fn submit(&self, writer: &mut Self::Writer) -> Result<Self::Ticket>;
    /// Returns when the write is durable.
    fn wait(&self, ticket: Self::Ticket) -> Result<()>;
    /// Number of the segment that has the write, if it is known.
    fn segment(ticket: &Self::Ticket) -> Option<u32>;
    /// Writes the batch without waiting for anything.
    fn submit_lazily(&self, writer: &mut Self::Writer) -> Result<()>;
    /// Makes everything durable.
    fn flush(&self) -> Result<()>;

    /// Reads entries from `low` up to but excluding `high`. Returns their number and payload bytes.
    fn read(&self, group: u64, low: u64, high: u64) -> Result<(u64, u64)>;
    /// Returns whether the entry exists and holds `expected`.
    fn has(&self, group: u64, index: u64, expected: &Bytes) -> Result<bool>;
    /// Index of the group's first entry. Meaningless if the group has none.
    fn first_index(&self, group: u64) -> u64;
    /// Index of the group's last entry, 0 if it has none.
    fn last_index(&self, group: u64) -> u64;

    /// Entries read from memory and from files so far, if the engine counts them.
    fn cache(&self) -> Result<Option<(u64, u64)>> {
        Ok(None)
    }
    /// Background work that the engine's user calls at intervals.
    fn tidy(&self) -> Result<()>;
}
