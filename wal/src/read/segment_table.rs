//! Maps positions to segments for readers: which segments hold the log, and how far each can be read.

use crate::damage::Damage;
use crate::error::Error;
use crate::read::damaged_ranges::DamagedRanges;
use crate::segment::descriptors::read_again;
use crate::segment::names::file_name;
use crate::segment::open_segment::Segment;
use crate::types::Lsn;
use seawall_disk::{AlignedBuf, read_exact_at};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The segments that hold the log, for readers.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    segments: BTreeMap<u32, Readable>,
    pub(crate) damaged_ranges: DamagedRanges,
}

/// One segment and the offset at which its kept groups end; `None` while groups are appended to it.
#[derive(Clone, Debug)]
struct Readable {
    segment: Arc<Segment>,
    end: Option<u32>,
}

impl SegmentTable {
    pub(crate) fn new(damaged_ranges: DamagedRanges) -> SegmentTable {
        SegmentTable { segments: BTreeMap::new(), damaged_ranges }
    }

    /// Adds a segment whose kept groups end at `end`.
    pub(crate) fn insert(&mut self, segment: Arc<Segment>, end: Option<u32>) {
        self.segments.insert(segment.sequence, Readable { segment, end });
    }

    /// Records that the log continues in `segment` and that the segment before it ends at `previous_end`.
    pub(crate) fn enter(&mut self, previous_end: Lsn, segment: Arc<Segment>) {
        if let Some(stretch) = self.segments.get_mut(&previous_end.segment()) {
            stretch.end = Some(previous_end.offset());
        }
        self.insert(segment, None);
    }

    /// Removes the segments below `first_live`, and returns them.
    pub(crate) fn release(&mut self, first_live: u32) -> Vec<Arc<Segment>> {
        self.damaged_ranges.release(first_live);
        let live = self.segments.split_off(&first_live);
        std::mem::replace(&mut self.segments, live).into_values().map(|s| s.segment).collect()
    }

    /// The segment with number `sequence`.
    pub(crate) fn get(&self, sequence: u32) -> Option<Arc<Segment>> {
        self.segments.get(&sequence).map(|s| Arc::clone(&s.segment))
    }

    /// The segment with number `sequence` and its end, if the log has left it and is `durable` up to that end.
    pub(crate) fn sealed(&self, sequence: u32, durable: Lsn) -> Option<(Arc<Segment>, u32)> {
        let stretch = self.segments.get(&sequence)?;
        let end = stretch.end.filter(|&end| Lsn::new(sequence, end) <= durable)?;
        Some((Arc::clone(&stretch.segment), end))
    }

    /// The segment with number `sequence`, if the log has left it, is `durable` up to its end, and none of it is
    /// damaged.
    pub(crate) fn whole(&self, sequence: u32, durable: Lsn) -> Option<Arc<Segment>> {
        let (segment, _) = self.sealed(sequence, durable)?;
        let damaged = |range: &Damage| (range.from.segment()..=range.to.segment()).contains(&sequence);
        (!self.damaged_ranges.list().iter().any(damaged)).then_some(segment)
    }

    /// Number of the lowest segment.
    pub(crate) fn first(&self) -> Option<u32> {
        self.segments.first_key_value().map(|(&n, _)| n)
    }

    /// The segments that a reader from `from` to `durable` passes, each with the offset up to which it may read.
    pub(crate) fn stretches(&self, from: Lsn, durable: Lsn) -> Vec<(Arc<Segment>, u32)> {
        // Rotation leaves a segment when its last groups are enqueued, before they are durable.
        let limit = |s: &Readable| match s.segment.sequence.cmp(&durable.segment()) {
            Ordering::Less => s.end,
            Ordering::Equal => Some(s.end.map_or(durable.offset(), |end| end.min(durable.offset()))),
            Ordering::Greater => None,
        };
        let range = self.segments.range(from.segment()..=durable.segment().max(from.segment()));
        range.filter_map(|(_, s)| limit(s).map(|end| (Arc::clone(&s.segment), end))).collect()
    }
}

/// The error for one damaged range.
pub(crate) fn damaged(location: &str, damage: Damage) -> Error {
    Error::Corrupt { path: location.into(), damage: [damage].into() }
}

/// Fills `out` with the bytes at `at`, without checking them.
pub(crate) fn read_range(segment: &Segment, location: &str, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
    if u64::from(at.offset()) + out.len() as u64 > u64::from(segment.file_bytes) {
        return Err(Error::NotInLog { lsn: at });
    }
    segment.map.note_read(out.len());
    read_exact_at(&segment.file, out, u64::from(at.offset()))
        .map_err(|e| Error::open("read", location, file_name(segment.sequence), e))
}

/// As [`read_range`], past the page cache: for bytes that failed their check when they were read through it.
pub(crate) fn read_range_again(
    segment: &Segment,
    location: &str,
    block_bytes: u32,
    at: Lsn,
    out: &mut [u8],
) -> Result<(), Error> {
    let (block, offset) = (u64::from(block_bytes), u64::from(at.offset()));
    let end = offset + out.len() as u64;
    if end > u64::from(segment.file_bytes) {
        return Err(Error::NotInLog { lsn: at });
    }
    let from = offset / block * block;
    let len = usize::try_from(end.next_multiple_of(block) - from).unwrap_or(usize::MAX);
    let mut blocks = AlignedBuf::zeroed(len);
    read_again(&segment.file, &mut blocks, from)
        .map_err(|e| Error::open("read", location, file_name(segment.sequence), e))?;
    let skipped = usize::try_from(offset - from).unwrap_or(usize::MAX);
    out.copy_from_slice(&blocks[skipped..skipped + out.len()]);
    Ok(())
}
