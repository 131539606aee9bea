//! Reads entries, votes and log ids.
//!
//! The caller answers from memory at once; otherwise another thread reads and decodes the entries. A range is
//! cut to what the log has at one moment, and read as a whole. A range that the log does not have gives an
//! empty result.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::adapters::openraft::error::Result;
use crate::adapters::openraft::log::open::{Core, Types, decode_entry};
use crate::adapters::openraft::log_id::{Ends, Id};
use crate::error::Error as EngineError;
use crate::types::Entry;

/// A handle for reading one log. A clone is another handle of the same log.
pub(crate) struct LogReads<T: Types>(pub(in crate::adapters::openraft) Arc<Core<T>>);

impl<T: Types> Clone for LogReads<T> {
    fn clone(&self) -> LogReads<T> {
        LogReads(Arc::clone(&self.0))
    }
}

/// The engine's answer for a range: `None` if it would have to read from the disk and must not.
type Read = std::result::Result<Option<Vec<Entry>>, EngineError>;

/// A requested range, in indexes of the engine, `high` excluded.
#[derive(Clone, Copy)]
struct Range {
    low: u64,
    high: u64,
    max_bytes: Option<u64>,
}

impl<T: Types> LogReads<T> {
    pub(crate) fn vote(&self) -> Option<T::Vote> {
        self.0.memory.read().stored.vote.clone()
    }

    pub(crate) fn ends(&self) -> Ends<T::Leader> {
        self.0.ends()
    }

    pub(crate) fn committed(&self) -> Option<Id<T::Leader>> {
        self.0.committed()
    }

    /// The last log id of each leader from index `low` to `high`, both included, from memory.
    #[cfg_attr(not(feature = "openraft"), expect(dead_code, reason = "0.9 searches the log itself"))]
    pub(crate) fn last_of_each_leader(&self, low: u64, high: u64) -> Vec<Id<T::Leader>> {
        let (low, high) = (low.saturating_add(1), high.saturating_add(1));
        let memory = self.0.memory.read();
        let ids = memory.leaders.last_of_each(low, high.min(self.0.log.last_index()));
        ids.into_iter().map(|(leader, index)| Id { leader, index: index - 1 }).collect()
    }

    /// Reads all entries of `range` that the log has.
    pub(crate) async fn entries(&self, range: impl RangeBounds<u64>) -> Result<Vec<T::Entry>> {
        let low = match range.start_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => index.saturating_add(2),
            Bound::Unbounded => 0,
        };
        let high = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(2),
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => u64::MAX,
        };
        self.read(Range { low, high, max_bytes: None }).await
    }

    /// Reads the first entries of `low..high`: at least one if the log has one, and up to
    /// [`LogOptions::read_bytes_max`](crate::adapters::openraft::stores::LogOptions::read_bytes_max).
    pub(crate) async fn some_entries(&self, low: u64, high: u64) -> Result<Vec<T::Entry>> {
        let (low, high) = (low.saturating_add(1), high.saturating_add(1));
        let max_bytes = Some(self.0.logs.options().read_bytes_max);
        self.read(Range { low, high, max_bytes }).await
    }

    async fn read(&self, range: Range) -> Result<Vec<T::Entry>> {
        let core = &self.0;
        let in_memory = core.get(range, |low, high, max| core.log.entries_in_memory(low, high, max))?;
        if let Some(entries) = in_memory {
            return core.decode(&entries);
        }
        let core = Arc::clone(core);
        let read = move || {
            let entries = core.get(range, |low, high, max| core.log.entries(low, high, max).map(Some))?;
            core.decode(&entries.unwrap_or_default())
        };
        self.0.logs.hands().run(read).await
    }
}

impl<T: Types> Core<T> {
    /// Cuts `range` to what the log has and calls `read`; repeats this if the ends of the log changed in
    /// between.
    fn get(&self, range: Range, read: impl Fn(u64, u64, Option<u64>) -> Read) -> Result<Option<Vec<Entry>>> {
        let mut before = None;
        loop {
            let low = range.low.max(self.log.first_index());
            let high = range.high.min(self.log.last_index() + 1);
            if low >= high {
                return Ok(Some(Vec::new()));
            }
            match read(low, high, range.max_bytes) {
                Err(EngineError::Compacted { .. } | EngineError::Unavailable { .. })
                    if before != Some((low, high)) =>
                {
                    before = Some((low, high));
                }
                result => return Ok(result?),
            }
        }
    }

    fn decode(&self, entries: &[Entry]) -> Result<Vec<T::Entry>> {
        entries.iter().map(|entry| decode_entry::<T>(self.log.id(), entry)).collect()
    }
}
