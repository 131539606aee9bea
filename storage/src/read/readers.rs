//! The list of all pinned readers of an engine.
//!
//! A reader is in the list as long as it exists.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use seawall_wal::Wal;

use super::pinned::Pinned;
use crate::types::GroupId;

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
pub(crate) struct Readers(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    by_id: BTreeMap<u64, ReaderStats>,
}

impl Readers {
    /// Statistics of all readers, in the order in which they were made.
    pub(crate) fn stats(&self, wal: &Wal) -> Vec<ReaderStats> {
        let mut all: Vec<ReaderStats> = self.0.lock().by_id.values().cloned().collect();
        let first = wal.first_segment();
        for reader in &mut all {
            let gone = reader.segments.partition_point(|segment| *segment < first);
            reader.held_bytes = wal.segment_bytes().saturating_mul(gone as u64);
        }
        all
    }

    /// Adds a reader and returns its number.
    pub(crate) fn add(&self, pinned: &Pinned) -> u64 {
        let mut list = self.0.lock();
        let id = list.next;
        list.next += 1;
        list.by_id.insert(id, figures(pinned));
        id
    }

    /// Updates the figures of reader `id`.
    pub(crate) fn update(&self, id: u64, pinned: &Pinned) {
        if let Some(reader) = self.0.lock().by_id.get_mut(&id) {
            *reader = figures(pinned);
        }
    }

    /// Removes reader `id`.
    pub(crate) fn remove(&self, id: u64) {
        self.0.lock().by_id.remove(&id);
    }
}

fn figures(pinned: &Pinned) -> ReaderStats {
    let (next, high) = pinned.range();
    ReaderStats { group: pinned.group(), next, high, segments: pinned.segments(), held_bytes: 0 }
}
