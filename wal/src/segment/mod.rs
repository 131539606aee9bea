//! Segment files: their names and numbers, and the state of a segment in use.

pub(crate) mod create;
pub(crate) mod descriptors;
pub(crate) mod directory;
pub(crate) mod footer;
pub(crate) mod index_builder;
pub(crate) mod lazy_map;
pub(crate) mod mapped;
pub(crate) mod preallocator;
pub(crate) mod read_ahead;
pub(crate) mod spare_pool;

use crate::segment::descriptors::SegmentFile;
use crate::segment::lazy_map::LazyMap;
use crate::sync::{AtomicBool, AtomicU32};
use crate::types::PriorContents;
use seawall_disk::{DiskFile, Map};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Highest number of a segment. Leaves room for the numbers after it without an overflow.
pub(crate) const SEQUENCE_MAX: u32 = u32::MAX - 3;

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
    /// Whether the file was advised that it will not be written to any more.
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

/// The file name of segment `sequence`.
pub fn file_name(sequence: u32) -> String {
    format!("{sequence:08x}.wal")
}

/// The name of segment `sequence` while it is being prepared.
pub(crate) fn spare_name(sequence: u32) -> String {
    format!("{sequence:08x}.new")
}

/// Parses a name made by [`file_name`] (`extension` is `wal`) or [`spare_name`] (`new`); returns the number.
pub(crate) fn parse_name(name: &str, extension: &str) -> Option<u32> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let plain = digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = u32::from_str_radix(digits, 16).ok()?;
    (plain && number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_canonical() {
        assert_eq!(file_name(0x1f), "0000001f.wal");
        assert_eq!(parse_name(&file_name(31), "wal"), Some(31));
        assert_eq!(parse_name(&spare_name(31), "new"), Some(31));
        for bad in ["0000001F.wal", "1f.wal", "00000000.wal", "+000001f.wal", "0000001f.wal.bak", "x", ""] {
            assert_eq!(parse_name(bad, "wal"), None, "{bad}");
        }
    }
}
