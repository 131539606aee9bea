//! Engines with many groups behind one interface, each driven as its documentation says it should be.
//!
//! A writer is one thread's batch, reused: filled with entries and compaction points of any groups, then
//! submitted as one atomic write. Groups count from 1, indexes from 1, every term is 1. Errors are errors of
//! the run: a figure of an engine that failed means nothing.

mod raft_engine;
mod seawall;

use anyhow::Result;
use bytes::Bytes;
use std::path::Path;

pub(crate) use self::raft_engine::RaftEngine;
pub(crate) use self::seawall::Seawall;

/// What rows choose; the rest is as the engines come, or as `seawall_compare::raft_engine` tunes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Segments of Seawall.
    pub(crate) segment_bytes: u32,
    /// Files of raft-engine.
    pub(crate) file_bytes: u64,
    /// Files of raft-engine beyond which it purges; `None` never.
    pub(crate) purge_bytes: Option<u64>,
    /// Whether files are prepared before the load, as those of a node are that has run for a while: raft-engine
    /// fills those that it recycles, Seawall is given the time to prepare its spares.
    pub(crate) run_in: bool,
    /// Seawall's option of that name: beyond it live entries are copied out of old segments; `None` never.
    pub(crate) slack_bytes: Option<usize>,
    /// Seawall's option of that name.
    pub(crate) cache_bytes: usize,
    /// Seawall's option of that name.
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
    /// As tables name it.
    const NAME: &'static str;
    /// One thread's batch.
    type Writer: Send;
    /// A write that may not be durable yet.
    type Ticket: Send;

    /// Makes one in `dir`, which does not exist.
    fn create(dir: &Path, setup: &Setup) -> Result<Self>;
    /// Opens the one in `dir`.
    fn open(dir: &Path, setup: &Setup) -> Result<Self>;
    /// Ends it in an orderly way.
    fn close(self) -> Result<()>;

    /// A batch for one thread.
    fn writer(&self) -> Self::Writer;
    /// Adds `count` entries from `first` on, each with this payload.
    fn append(writer: &mut Self::Writer, group: u64, first: u64, count: u64, payload: &Bytes) -> Result<()>;
    /// Adds the loss of all entries up to and with `index`.
    fn compact(writer: &mut Self::Writer, group: u64, index: u64);
    /// Writes the batch and leaves it empty; durable once waited for.
    fn submit(&self, writer: &mut Self::Writer) -> Result<Self::Ticket>;
    /// Returns when the write is durable.
    fn wait(&self, ticket: Self::Ticket) -> Result<()>;
    /// Number of the segment that the write went to, if that can be known.
    fn segment(ticket: &Self::Ticket) -> Option<u32>;
    /// Writes the batch without waiting for anything.
    fn submit_lazily(&self, writer: &mut Self::Writer) -> Result<()>;
    /// Makes everything durable.
    fn flush(&self) -> Result<()>;

    /// Reads entries from `low` up to, and without, `high`; returns how many, and their payload's bytes.
    fn read(&self, group: u64, low: u64, high: u64) -> Result<(u64, u64)>;
    /// Whether the entry is there and holds `expected`.
    fn has(&self, group: u64, index: u64, expected: &Bytes) -> Result<bool>;
    /// Index of the group's first entry; meaningless without any.
    fn first_index(&self, group: u64) -> u64;
    /// Index of the group's last entry, 0 without any.
    fn last_index(&self, group: u64) -> u64;

    /// Entries read from memory and from files so far, if the engine counts them.
    fn cache(&self) -> Result<Option<(u64, u64)>> {
        Ok(None)
    }
    /// What its user calls now and then in the background.
    fn tidy(&self) -> Result<()>;
}
