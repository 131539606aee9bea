//! Pinned readers, which read a range of a group as it was when they were made.
//!
//! Between calls a reader holds files but no lock.

use std::fmt;
use std::sync::Arc;

use crate::engine::user_handle::UserHandle;
use crate::error::Result;
use crate::read::Pinned;
use crate::types::{Entry, GroupId};

/// Reads a range of one group, from first to last, as it was when [`Group::pin`](super::Group::pin) made the reader.
/// Use it for a peer that is far behind, or to copy a range. Dropping it releases the files that it holds.
pub struct PinnedReader {
    core: Arc<UserHandle>,
    id: u64,
    pinned: Pinned,
}

impl PinnedReader {
    pub(super) fn new(core: Arc<UserHandle>, group: GroupId, low: u64, high: u64) -> Result<PinnedReader> {
        let pinned = Pinned::new(&*core.wal()?, &core.groups, &core.usage, group, low, high)?;
        let id = core.readers.add(&pinned);
        Ok(PinnedReader { core, id, pinned })
    }

    /// The group that is read.
    pub fn group(&self) -> GroupId {
        self.pinned.group()
    }

    /// Index of the entry that is read next, and one past the index of the last entry.
    pub fn range(&self) -> (u64, u64) {
        self.pinned.range()
    }

    /// Reads the next entries; none at the end of the range. With `max_bytes`, reads as many as have at most that
    /// many bytes of payload in total, but at least one. Without it, reads all that are left. Entries of segments
    /// that the log has released are read from the files that the reader holds; each file is read once, from its
    /// start.
    ///
    /// # Errors
    /// [`Error::DamagedEntry`](crate::Error::DamagedEntry) or [`Error::Compressed`](crate::Error::Compressed) if the
    /// next entry cannot be read; [`Error::Closed`](crate::Error::Closed); or the error of the log. The position of
    /// the reader does not change.
    pub fn read(&mut self, max_bytes: Option<u64>) -> Result<Vec<Entry>> {
        let core = &*self.core;
        let read =
            self.pinned.read(&*core.wal()?, &core.cache, &core.compressor, max_bytes.unwrap_or(u64::MAX));
        core.readers.update(self.id, &self.pinned);
        read
    }
}

impl Drop for PinnedReader {
    fn drop(&mut self) {
        self.core.readers.remove(self.id);
    }
}

impl fmt::Debug for PinnedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedReader")
            .field("group", &self.group())
            .field("range", &self.range())
            .finish_non_exhaustive()
    }
}
