//! Keeps the damaged ranges of a log that was opened in degraded or salvage mode; readers consult it before they read
//! (INV-5).
//!
//! It can also read what is left of the records in a damaged range, for callers that can use less than a whole group.

use crate::damage::{Damage, DamageKind};
use crate::error::Error;
use crate::format::layout::{GROUP_HEADER_BYTES, RECORD_ALIGN};
use crate::format::{GroupHeader, RecordRef, record_at};
use crate::segment::names::file_name;
use crate::segment::open_segment::Segment;
use crate::types::{GroupKind, Lsn};
use seawall_disk::{AlignedBuf, read_exact_medium};

/// The damaged ranges, ascending, none within another.
#[derive(Debug, Default)]
pub(crate) struct DamagedRanges(Vec<Damage>);

impl DamagedRanges {
    pub(crate) fn new(damaged: Vec<Damage>) -> DamagedRanges {
        DamagedRanges(damaged)
    }

    pub(crate) fn list(&self) -> &[Damage] {
        &self.0
    }

    /// The ranges that a reader meets in the segments from `first` on.
    pub(crate) fn since(&self, first: u32) -> Vec<Damage> {
        self.0.iter().filter(|range| range.to.segment() >= first).copied().collect()
    }

    /// The first range that overlaps the `len` bytes at `at`.
    pub(crate) fn over(&self, at: Lsn, len: usize) -> Option<Damage> {
        let end = at.as_u64().saturating_add(len.max(1) as u64);
        let first = self.0.get(self.0.partition_point(|range| range.to <= at));
        first.filter(|range| range.from.as_u64() < end).copied()
    }

    /// Removes the ranges below segment `first`, the lowest one that can still be read.
    pub(crate) fn release(&mut self, first: u32) {
        self.0.retain(|range| range.to.segment() >= first);
    }
}

/// Hands each record of a damaged group of `segment` to `each`, with the numbers of its parts that fail their
/// checksum.
///
/// Returns whether these are all records of the group. They are if the group's header and every record's header,
/// `meta` and part table are valid, so that only the contents of those parts, or padding, are damaged.
pub(crate) fn records_within(
    segment: &Segment,
    location: &str,
    damage: &Damage,
    each: &mut dyn FnMut(&RecordRef<'_>, &[u32]),
) -> Result<bool, Error> {
    let length = damage.to.as_u64().saturating_sub(damage.from.as_u64());
    let inside = u64::from(damage.from.offset()) + length <= u64::from(segment.file_bytes);
    let (DamageKind::Group(_), true) = (damage.what, inside && damage.from.segment() == segment.sequence)
    else {
        return Ok(false);
    };
    let length = usize::try_from(length).unwrap_or(0);
    let mut bytes = AlignedBuf::zeroed(length);
    // From the medium, as recovery read them.
    read_exact_medium(&segment.file, &mut bytes, u64::from(damage.from.offset()), length)
        .map_err(|e| Error::open("read", location, file_name(segment.sequence), e))?;
    let Some(header) = GroupHeader::decode(&bytes, segment.salt, damage.from) else { return Ok(false) };
    if header.kind != GroupKind::Data {
        // A mark has no records, and a footer only repeats what the records before it hold.
        return Ok(true);
    }
    let end = GROUP_HEADER_BYTES.saturating_add(header.body_bytes as usize);
    let Some(body) = bytes.get(..end) else { return Ok(false) };
    let mut at = GROUP_HEADER_BYTES;
    for _ in 0..header.record_count {
        let lsn = Lsn::from_u64(damage.from.as_u64().saturating_add(at as u64));
        let Ok(record) = record_at(body, at, segment.salt, lsn) else { return Ok(false) };
        each(&record, &record.bad_parts());
        at = (at + record.len()).next_multiple_of(RECORD_ALIGN as usize).min(end);
    }
    Ok(at == end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_touches_a_damaged_range_is_told() {
        let range =
            |from, to| Damage { from: Lsn::new(2, from), to: Lsn::new(2, to), what: DamageKind::NoGroup };
        let mut ranges = DamagedRanges::new(vec![range(4096, 8192), range(12288, 16384)]);
        for (at, len, over) in [
            (0, 4096, None),
            (0, 4097, Some(4096)),
            (4096, 0, Some(4096)),
            (8191, 1, Some(4096)),
            (8192, 4096, None),
            (8192, 4097, Some(12288)),
            (16384, 1, None),
        ] {
            let found = ranges.over(Lsn::new(2, at), len).map(|range| range.from.offset());
            assert_eq!(found, over, "{len} bytes at {at}");
            assert_eq!(ranges.over(Lsn::new(1, at), len), None);
        }
        assert_eq!((ranges.since(2).len(), ranges.since(3).len()), (2, 0));
        ranges.release(2);
        assert_eq!(ranges.list().len(), 2);
        ranges.release(3);
        assert!(ranges.list().is_empty());
    }
}
