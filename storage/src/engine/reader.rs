//! Pinned readers: handles that read a range of a group as it was, and the list of them.
//! Place on the data's way: where readers come in that take long. Invariants: a reader is in the list as long as it
//! exists; it holds files and no lock between its calls. Fails: each method says how.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use seawall_wal::Wal;

use crate::engine::handles::UserHandle;
use crate::error::Result;
use crate::read::Pinned;
use crate::types::{Entry, GroupId};

/// Reads a range of one group as it was when [`Group::pin`](super::Group::pin) made it, first to last. For a peer
/// that is far behind, or a copy; dropping it lets go of what it holds.
pub struct PinnedReader {
    core: Arc<UserHandle>,
    id: u64,
    pinned: Pinned,
}

/// Figures of one pinned reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReaderStats {
    /// The group it reads.
    pub group: GroupId,
    /// Index of the entry it reads next.
    pub next: u64,
    /// Index behind the last one.
    pub high: u64,
    /// Segments whose files it holds, ascending: those with entries that it has still to read.
    pub segments: Arc<[u32]>,
    /// Bytes of those that the log has let go of: they take room on the disk for this reader alone.
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
    /// The figures of all, in the order in which they were made.
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

    /// The group it reads.
    pub fn group(&self) -> GroupId {
        self.pinned.group()
    }

    /// Index of the entry that comes next, and the index behind the last one.
    pub fn range(&self) -> (u64, u64) {
        self.pinned.range()
    }

    /// The next entries: all, or as many as have at most `max_bytes` bytes of payload, but at least one; none at
    /// the end. Reads the log, or files that the log has let go of: those from their start, once.
    ///
    /// # Errors
    /// [`Error::DamagedEntry`](crate::Error::DamagedEntry) or [`Error::Compressed`](crate::Error::Compressed) if
    /// the next entry cannot be read; [`Error::Closed`](crate::Error::Closed); or the log's error. The reader stays
    /// where it is.
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
