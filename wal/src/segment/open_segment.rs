//! A segment in use: its file, and the values that its writers and readers share.

use crate::segment::descriptors::SegmentFile;
use crate::segment::lazy_map::LazyMap;
use crate::sync::{AtomicBool, AtomicU32};
use crate::types::PriorContents;
use seawall_disk::{DiskFile, Map};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A segment that is written to, or will be. The file stays open as long as this exists.
#[derive(Clone, Debug)]
pub(crate) struct OpenSegment {
    pub(crate) segment: Arc<Segment>,
    /// The open file, for writers.
    pub(crate) pinned: Arc<dyn DiskFile>,
}

impl Deref for OpenSegment {
    type Target = Segment;

    fn deref(&self) -> &Segment {
        &self.segment
    }
}

/// One segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its number; the first segment is 1.
    pub(crate) sequence: u32,
    /// Mixed into every checksum of the segment.
    pub(crate) salt: u64,
    /// Contents of its blocks before its first group was written.
    pub(crate) prior: PriorContents,
    /// Its reach: the number of blocks that bounds the groups in flight in it; see [`crate::format::SegmentHeader`]. 0
    /// if unbounded.
    pub(crate) reach_blocks: u16,
    /// Length of the file, in bytes.
    pub(crate) file_bytes: u32,
    /// The file, for readers.
    pub(crate) file: SegmentFile,
    /// Blocks below this offset have been written, so writing them again changes no metadata.
    pub(crate) written_to: AtomicU32,
    /// The file mapped into memory, once it is read often.
    pub(crate) map: LazyMap,
    /// Whether [`DiskFile::expect_reads`] was already called.
    pub(crate) left: AtomicBool,
}

impl Segment {
    /// Its reach in bytes; `u32::MAX` for a segment without one.
    pub(crate) fn reach_bytes(&self, block_bytes: u32) -> u32 {
        match u32::from(self.reach_blocks) {
            0 => u32::MAX,
            blocks => blocks.saturating_mul(block_bytes),
        }
    }

    /// Advises the file that it will only be read. All of it is durable, and the log appends to a later segment.
    pub(crate) fn leave(&self) {
        if !self.left.load(Ordering::Relaxed) && !self.left.swap(true, Ordering::Relaxed) {
            self.file.expect_reads();
        }
    }

    /// The file mapped into memory, if it was read often enough. The log must append to a later segment.
    pub(crate) fn mapped(&self) -> Option<&Map> {
        self.leave();
        // The preallocator may still be writing zeros after the last group, and mapped memory must not change.
        if self.written_to.load(Ordering::Acquire) < self.file_bytes {
            return None;
        }
        self.map.get(&self.file, u64::from(self.file_bytes))
    }
}

/// The bytes of a sealed segment's file, mapped into memory; index them by [`Lsn::offset`](crate::Lsn::offset). Cheap
/// to clone.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// Keeps the segment alive: its file is not recycled while this exists.
    segment: Arc<Segment>,
}

impl Mapped {
    /// The map of `segment`; `None` if it was not read often enough or cannot be mapped.
    pub(crate) fn of(segment: Arc<Segment>) -> Option<Mapped> {
        let has_map = segment.mapped().is_some();
        has_map.then_some(Mapped { segment })
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.segment.mapped().map_or(&[], |map: &Map| map)
    }
}
