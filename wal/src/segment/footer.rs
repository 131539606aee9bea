//! Finds the footer of a sealed segment from the segment's end, and checks it.
//!
//! It reads the medium, never a map. A footer that is not valid counts as missing: the records of the segment hold the
//! same information, or show what is damaged. Only a failed read is an error.

use crate::format::layout::FOOTER_TAIL_BYTES;
use crate::format::{FooterTail, GroupHeader, SegmentHeader, read_tail, record_at};
use crate::types::{GroupKind, Lsn};
use seawall_disk::{AlignedBuf, DiskFile, read_exact_medium};
use std::io;
use std::ops::Range;

/// The index of one segment that the user of the log made, as read from the segment's footer.
#[derive(Debug)]
pub struct Footer {
    lsn: Lsn,
    group: AlignedBuf,
    index: Range<usize>,
}

impl Footer {
    /// Position of the first byte of the footer's group.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The index, byte for byte as [`SegmentIndexBuilder::seal`](crate::segments::SegmentIndexBuilder::seal) wrote it;
    /// it starts at a multiple of 8 in memory.
    pub fn index(&self) -> &[u8] {
        &self.group[self.index.clone()]
    }
}

/// The fields of a segment's header that are needed to read a footer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FooterLocation {
    pub(crate) sequence: u32,
    pub(crate) salt: u64,
    pub(crate) block_bytes: u32,
    pub(crate) file_bytes: u64,
}

impl From<&SegmentHeader> for FooterLocation {
    fn from(header: &SegmentHeader) -> FooterLocation {
        let SegmentHeader { sequence, salt, block_bytes, file_bytes, .. } = *header;
        FooterLocation { sequence, salt, block_bytes, file_bytes }
    }
}

/// The header of the group at offset `at`, a block boundary; `None` if there is no valid group header.
pub(crate) fn head_at(
    file: &dyn DiskFile,
    place: FooterLocation,
    at: u32,
) -> io::Result<Option<GroupHeader>> {
    let block = place.block_bytes;
    if u64::from(at) + u64::from(block) > place.file_bytes {
        return Ok(None);
    }
    let mut bytes = AlignedBuf::zeroed(block as usize);
    read_exact_medium(file, &mut bytes, u64::from(at), block as usize)?;
    Ok(GroupHeader::decode(&bytes, place.salt, Lsn::new(place.sequence, at)))
}

/// The group header of the footer whose group ends at `end`. `None` unless group header and tail are valid and fit each
/// other. Does not read the bytes between them.
pub(crate) fn locate(
    file: &dyn DiskFile,
    place: FooterLocation,
    end: u32,
) -> io::Result<Option<GroupHeader>> {
    let mut tail = AlignedBuf::new();
    Ok(ends(file, place, end, &mut tail)?.map(|(group, _)| group))
}

/// The footer whose group ends at `end`. `None` unless all of it is valid: header, record, index, padding and tail.
/// Reuses the memory of `used`.
pub(crate) fn find(
    file: &dyn DiskFile,
    place: FooterLocation,
    end: u32,
    used: Option<Footer>,
) -> io::Result<Option<Footer>> {
    let mut bytes = used.map_or_else(AlignedBuf::new, |used| used.group);
    bytes.clear();
    let Some((group, tail)) = ends(file, place, end, &mut bytes)? else { return Ok(None) };
    let (start, length) = (tail.group_offset, (end - tail.group_offset) as usize);
    bytes.clear();
    bytes.set_len_for_read(length);
    read_exact_medium(file, &mut bytes, u64::from(start), length)?;
    // Compare with the first read: the medium may return something else each time.
    let same = GroupHeader::decode(&bytes, place.salt, group.lsn) == Some(group);
    let sound = group.check(place.salt, &bytes).is_ok();
    let at = (tail.index_offset() - start) as usize;
    let index = at..at.saturating_add(tail.index_bytes as usize);
    let fits = index.end <= length - FOOTER_TAIL_BYTES;
    if !same || !sound || !fits || !holds(&group, place.salt, &bytes, tail.index_offset()) {
        return Ok(None);
    }
    Ok(Some(Footer { lsn: group.lsn, group: bytes, index }))
}

/// Reads group header and tail of the footer that ends at `end`; leaves the last block in `bytes`.
fn ends(
    file: &dyn DiskFile,
    place: FooterLocation,
    end: u32,
    bytes: &mut AlignedBuf,
) -> io::Result<Option<(GroupHeader, FooterTail)>> {
    let block = place.block_bytes;
    let fits = end >= 2 * block && u64::from(end) <= place.file_bytes && end.is_multiple_of(block);
    if !fits {
        return Ok(None);
    }
    bytes.set_len_for_read(block as usize);
    read_exact_medium(file, bytes, u64::from(end - block), block as usize)?;
    let at_end = Lsn::new(place.sequence, end);
    let Some(tail) = read_tail(&bytes[block as usize - FOOTER_TAIL_BYTES..], place.salt, at_end) else {
        return Ok(None);
    };
    let start = tail.group_offset;
    if start < block || start >= end || !start.is_multiple_of(block) {
        return Ok(None);
    }
    let group = if start == end - block {
        GroupHeader::decode(bytes, place.salt, Lsn::new(place.sequence, start))
    } else {
        head_at(file, place, start)?
    };
    let fits = |g: &GroupHeader| g.kind == GroupKind::Footer && g.disk_bytes(block) == Some(end - start);
    Ok(group.filter(fits).map(|group| (group, tail)))
}

/// Whether the group holds exactly one record with one part, and the part starts at `offset` of the segment.
fn holds(group: &GroupHeader, salt: u64, bytes: &[u8], offset: u32) -> bool {
    use crate::format::layout::GROUP_HEADER_BYTES;
    let lsn = Lsn::from_u64(group.lsn.as_u64() + GROUP_HEADER_BYTES as u64);
    let record = record_at(bytes, GROUP_HEADER_BYTES, salt, lsn);
    let parts = record.ok().filter(|_| group.record_count == 1).map(|r| r.part_infos().collect::<Vec<_>>());
    parts.is_some_and(|parts| parts.len() == 1 && parts[0].offset == offset)
}
