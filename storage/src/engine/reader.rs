//! Pinned readers, which read a range of a group as it was when they were made, and the list of all of them.
//!
//! A reader is in the list as long as it exists. Between calls it holds files but no lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use seawall_wal::Wal;

use crate::engine::handles::UserHandle;
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

/// Statistics of one pinned reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReaderStats {
    /// The group that is read.
    pub group: GroupId,
    /// Index of the entry that is read next.
    pub next: u64,
    /// One past the index of the last entry.
    pub high: u64,
    /// Segments whose files the reader holds, ascending: those that contain entries still to be read.
    pub segments: Arc<[u32]>,
    /// Bytes of the held segments that the log has released. Only this reader keeps them on the disk.
    pub held_bytes: u64,
}

/// All pinned readers of an engine.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    by_id: BTreeMap<u64, ReaderStats>,
}

impl Readers {
    /// Statistics of all readers, in the order in which they were made.
    pub(super) fn stats(&self, wal: &Wal) -> Vec<ReaderStats> {
        let mut all: Vec<ReaderStats> = self.0.lock().by_id.values().cloned().collect();
        let first = wal.first_segment();
        for reader in &mut all {
            let gone = reader.segments.partition_point(|segment| *segment < first);
            reader.held_bytes = wal.segment_bytes().saturating_mul(gone as u64);
        }
        all
    }
}

fn figures(pinned: &Pinned) -> ReaderStats {
    let (next, high) = pinned.range();
    ReaderStats { group: pinned.group(), next, high, segments: pinned.segments(), held_bytes: 0 }
}

impl PinnedReader {
    pub(super) fn new(core: Arc<UserHandle>, group: GroupId, low: u64, high: u64) -> Result<PinnedReader> {
        let pinned = Pinned::new(&*core.wal()?, &core.groups, &core.pins, group, low, high)?;
        let mut list = core.readers.0.lock();
        let id = list.next;
        list.next += 1;
        list.by_id.insert(id, figures(&pinned));
        drop(list);
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
        let read = self.pinned.read(&*core.wal()?, &core.tail, &core.packer, max_bytes.unwrap_or(u64::MAX));
        if let Some(reader) = core.readers.0.lock().by_id.get_mut(&self.id) {
            *reader = figures(&self.pinned);
        }
        read
    }
}

impl Drop for PinnedReader {
    fn drop(&mut self) {
        self.core.readers.0.lock().by_id.remove(&self.id);
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
