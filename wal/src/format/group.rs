//! Encodes and decodes the group, the unit of durable writes: header, records, zero padding up to the block boundary.
//!
//! A *head* is a block whose group header is valid at its own position; a *valid group* is a head whose records and
//! padding are valid, too. Recovery distinguishes the two.

use super::checksum::{crc, seed};
use super::layout::{GROUP_HEADER_BYTES, GROUP_MAGIC, RECORD_ALIGN, RawGroupHeader};
use super::record::{RecordFault, record_at};
use crate::types::{GroupKind, Lsn, is_zeros, round_up};
use zerocopy::{FromBytes, IntoBytes};

/// The fields of a group header: the group, and the state of the log when it was issued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHeader {
    /// Purpose of the group.
    pub kind: GroupKind,
    /// Position of its first byte.
    pub lsn: Lsn,
    /// End of the last group of the contiguous durable prefix when this one was issued.
    pub watermark: Lsn,
    /// End of the kept log before this segment; the same in all groups of a segment.
    pub previous_end: Lsn,
    /// Lowest live segment once this group is durable.
    pub first_live: u32,
    /// Number of records.
    pub record_count: u32,
    /// Wall clock at issue, milliseconds since the Unix epoch; for human readers only.
    pub wall_clock_ms: u64,
    /// Bytes of records after the header, with their alignment, without padding.
    pub body_bytes: u32,
}

/// Why a group with a valid header is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupFault {
    /// The record at this offset inside the group is not valid.
    Record(u32, RecordFault),
    /// The padding byte at this offset inside the group is not zero.
    Padding(u32),
    /// The end of the records or their number differs from the header.
    Count,
    /// The group was not checked, because other groups claim the same bytes, and checking all of those claims would
    /// take more than a few passes over the segment. No log writes such a segment, and no crash leaves one.
    Unchecked,
}

/// Whether `block` starts with a group header that is valid for `lsn` and `salt`.
pub fn is_head(block: &[u8], salt: u64, lsn: Lsn) -> bool {
    GroupHeader::decode(block, salt, lsn).is_some()
}

impl GroupHeader {
    /// Writes the header over the first bytes of `group`.
    pub fn encode(&self, salt: u64, group: &mut [u8]) {
        let mut raw = RawGroupHeader {
            magic: GROUP_MAGIC,
            kind: match self.kind {
                GroupKind::Data => 0,
                GroupKind::Mark => 1,
                GroupKind::Footer => 2,
                GroupKind::Announcement => 3,
            },
            flags: 0,
            reserved: 0.into(),
            salt: salt.into(),
            lsn: self.lsn.as_u64().into(),
            watermark: self.watermark.as_u64().into(),
            previous_end: self.previous_end.as_u64().into(),
            first_live: self.first_live.into(),
            record_count: self.record_count.into(),
            wall_clock_ms: self.wall_clock_ms.into(),
            body_bytes: self.body_bytes.into(),
            crc: 0.into(),
        };
        raw.crc = (crc(&raw.as_bytes()[..GROUP_HEADER_BYTES - 4]) ^ seed(salt, self.lsn)).into();
        group[..GROUP_HEADER_BYTES].copy_from_slice(raw.as_bytes());
    }

    /// Decodes the header at the start of `block`; `None` if it is no head at `lsn` in a segment with `salt`, or if
    /// it refers to positions after itself.
    pub fn decode(block: &[u8], salt: u64, lsn: Lsn) -> Option<GroupHeader> {
        let (raw, _) = RawGroupHeader::ref_from_prefix(block).ok()?;
        if raw.magic != GROUP_MAGIC || raw.salt.get() != salt || raw.lsn.get() != lsn.as_u64() {
            return None;
        }
        if crc(&block[..GROUP_HEADER_BYTES - 4]) ^ seed(salt, lsn) != raw.crc.get() {
            return None;
        }
        let kind = match (raw.kind, raw.flags, raw.reserved.get()) {
            (0, 0, 0) => GroupKind::Data,
            (1, 0, 0) => GroupKind::Mark,
            (2, 0, 0) => GroupKind::Footer,
            (3, 0, 0) => GroupKind::Announcement,
            _ => return None,
        };
        let (watermark, previous_end) = (raw.watermark.get(), Lsn::from_u64(raw.previous_end.get()));
        let first_live = raw.first_live.get();
        // A group only refers to positions before itself; no log ever writes anything else.
        if watermark > lsn.as_u64() || first_live > lsn.segment() || previous_end.segment() >= lsn.segment() {
            return None;
        }
        Some(GroupHeader {
            kind,
            lsn,
            watermark: Lsn::from_u64(watermark),
            previous_end,
            first_live,
            record_count: raw.record_count.get(),
            wall_clock_ms: raw.wall_clock_ms.get(),
            body_bytes: raw.body_bytes.get(),
        })
    }

    /// Bytes of the group on disk, with padding; `None` if the header claims more than 4 GiB.
    pub fn disk_bytes(&self, block_bytes: u32) -> Option<u32> {
        let header = u32::try_from(GROUP_HEADER_BYTES).ok()?;
        round_up(header.checked_add(self.body_bytes)?, block_bytes)
    }

    /// Checks records and padding of `group`, which must hold all bytes of the group on disk.
    pub fn check(&self, salt: u64, group: &[u8]) -> Result<(), GroupFault> {
        let end = GROUP_HEADER_BYTES.saturating_add(self.body_bytes as usize);
        if end > group.len() || self.kind.is_mark() != (self.record_count == 0) {
            return Err(GroupFault::Count);
        }
        let mut at = GROUP_HEADER_BYTES;
        for _ in 0..self.record_count {
            let here = u32::try_from(at).map_err(|_| GroupFault::Count)?;
            let lsn = Lsn::from_u64(self.lsn.as_u64().saturating_add(u64::from(here)));
            let record = record_at(&group[..end], at, salt, lsn).map_err(|f| GroupFault::Record(here, f))?;
            record.check_parts().map_err(|f| GroupFault::Record(here, f))?;
            let record_end = at + record.len();
            at = record_end.next_multiple_of(RECORD_ALIGN as usize).min(end);
            check_zeros(group, record_end, at)?;
        }
        if at != end {
            return Err(GroupFault::Count);
        }
        check_zeros(group, end, group.len())
    }
}

fn check_zeros(group: &[u8], from: usize, to: usize) -> Result<(), GroupFault> {
    if is_zeros(&group[from..to]) {
        return Ok(());
    }
    match group[from..to].iter().position(|&b| b != 0) {
        None => Ok(()),
        Some(i) => Err(GroupFault::Padding(u32::try_from(from + i).unwrap_or(u32::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::RecordBuilder;
    use super::*;

    const SALT: u64 = 77;

    fn group() -> (GroupHeader, Vec<u8>) {
        let lsn = Lsn::new(3, 8192);
        let mut bytes = vec![0; GROUP_HEADER_BYTES];
        for n in 0..3u8 {
            let mut batch = RecordBuilder::new();
            batch.meta().extend([n; 5]);
            batch.push_part(&[n; 100]);
            batch.push_part(&[]);
            let at = bytes.len().next_multiple_of(8);
            bytes.resize(at, 0);
            batch.encode_into(
                crate::Durability::Sync,
                SALT,
                Lsn::new(3, 8192 + u32::try_from(at).unwrap()),
                &mut |b| {
                    bytes.extend(b);
                },
            );
        }
        let header = GroupHeader {
            kind: GroupKind::Data,
            lsn,
            watermark: Lsn::new(3, 4096),
            previous_end: Lsn::new(2, 4096),
            first_live: 1,
            record_count: 3,
            wall_clock_ms: 5,
            body_bytes: u32::try_from(bytes.len() - GROUP_HEADER_BYTES).unwrap(),
        };
        header.encode(SALT, &mut bytes);
        bytes.resize(4096, 0);
        (header, bytes)
    }

    #[test]
    fn round_trip() {
        let (header, bytes) = group();
        assert_eq!(GroupHeader::decode(&bytes, SALT, header.lsn), Some(header));
        assert_eq!(header.check(SALT, &bytes), Ok(()));
        assert_eq!(header.disk_bytes(4096), Some(4096));
    }

    #[test]
    fn another_place_or_incarnation_is_no_head() {
        let (_, bytes) = group();
        assert!(!is_head(&bytes, SALT, Lsn::new(3, 4096)));
        assert!(!is_head(&bytes, SALT + 1, Lsn::new(3, 8192)));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (header, mut bytes) = group();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let valid = GroupHeader::decode(&bytes, SALT, header.lsn)
                .is_some_and(|header| header.check(SALT, &bytes).is_ok());
            assert!(!valid, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn cut_short_anywhere_is_found() {
        let (header, bytes) = group();
        for len in GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + header.body_bytes as usize {
            assert!(header.check(SALT, &bytes[..len]).is_err(), "length {len}");
        }
    }
}
