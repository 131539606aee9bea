//! Selects the locations of the entries to read, and checks the bytes found there.

use std::ops::Range;

use bytes::Bytes;
use seawall_wal::Lsn;

use crate::compression::Compressor;
use crate::error::{Error, Result};
use crate::group::{GroupState, Groups, SegmentGuard, SegmentUsage};
use crate::types::{Entry, GroupId, Location};

/// Largest number of locations for which memory is reserved before they are selected: the size limit may allow fewer
/// entries than were requested.
const RESERVED_MAX: usize = 4096;

/// The entries to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadRequest {
    pub(crate) group: GroupId,
    /// First index.
    pub(crate) low: u64,
    /// One past the last index.
    pub(crate) high: u64,
    /// Largest total size of the payloads in bytes; the first entry is always read.
    pub(crate) max_bytes: u64,
}

/// Index, term and location of an entry to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct PayloadLocation {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) at: Location,
}

/// Selects the locations of the requested entries, and takes a guard on their segments. A group that does not exist has
/// no entries.
pub(super) fn select<'a>(
    groups: &Groups,
    usage: &'a SegmentUsage,
    wanted: ReadRequest,
) -> Result<(Vec<PayloadLocation>, Option<SegmentGuard<'a>>)> {
    match groups.get(wanted.group) {
        Some(slot) => select_in(&slot.read(), usage, wanted),
        None => select_in(&GroupState::default(), usage, wanted),
    }
}

fn select_in<'a>(
    state: &GroupState,
    usage: &'a SegmentUsage,
    wanted: ReadRequest,
) -> Result<(Vec<PayloadLocation>, Option<SegmentGuard<'a>>)> {
    let ReadRequest { group, low, high, max_bytes } = wanted;
    let (point, last_index) = (state.point().index, state.last_index());
    if low > high {
        return Err(Error::Range { group, low, high });
    }
    if low <= point {
        return Err(Error::Compacted { group, index: low, point });
    }
    if high > last_index + 1 {
        return Err(Error::Unavailable { group, index: high - 1, last_index });
    }
    let count = usize::try_from(high - low).unwrap_or(usize::MAX);
    let mut places: Vec<PayloadLocation> = Vec::with_capacity(count.min(RESERVED_MAX));
    let mut bytes: u64 = 0;
    let mut found = state.since(low);
    for index in low..high {
        let Some((term, at)) = found.next() else {
            return Err(Error::Unavailable { group, index, last_index });
        };
        bytes = bytes.saturating_add(u64::from(at.length));
        if bytes > max_bytes && !places.is_empty() {
            break;
        }
        places.push(PayloadLocation { index, term, at });
    }
    let hold = places.iter().map(|place| place.at.segment).min().map(|segment| usage.hold(|| segment));
    Ok((places, hold))
}

impl PayloadLocation {
    pub(super) fn lsn(&self) -> Lsn {
        Lsn::new(self.at.segment, self.at.offset)
    }

    pub(super) fn length(&self) -> usize {
        usize::try_from(self.at.length).unwrap_or(usize::MAX)
    }

    /// The range of its bytes in a buffer that starts at offset `from` of its segment.
    pub(super) fn within(&self, from: u32) -> Range<usize> {
        let at = |offset: u32| usize::try_from(offset.saturating_sub(from)).unwrap_or(usize::MAX);
        at(self.at.offset)..at(self.end())
    }

    pub(super) fn damaged(&self, group: GroupId) -> Error {
        Error::DamagedEntry { group, index: self.index, term: self.term, at: self.lsn() }
    }

    /// The entry with the stored bytes `stored`, which are checked here.
    pub(super) fn entry(&self, compressor: &Compressor, group: GroupId, stored: Bytes) -> Result<Entry> {
        if !self.at.matches(&stored) {
            return Err(self.damaged(group));
        }
        let payload = if self.at.packed { self.unpack(compressor, group, &stored)? } else { stored };
        Ok(Entry { index: self.index, term: self.term, payload })
    }

    /// Decompresses the stored bytes, which must have passed their checksum.
    pub(super) fn unpack(&self, compressor: &Compressor, group: GroupId, stored: &[u8]) -> Result<Bytes> {
        let (index, at) = (self.index, self.lsn());
        compressor.unpack(stored).map_err(|source| Error::Compressed { group, index, at, source })
    }

    /// Offset in the segment at which the payload ends.
    pub(super) fn end(&self) -> u32 {
        self.at.offset.saturating_add(self.at.length)
    }
}
