//! Encodes and decodes the footer: the last group of a sealed segment, with one record whose only part is an index
//! that the caller made.
//!
//! Zeros after the index fill the group, so that a tail of fixed size ends it. Readers find the footer by that tail.

use super::checksum::{crc, seed};
use super::layout::{
    FOOTER_MAGIC, FOOTER_TAIL_BYTES, GROUP_HEADER_BYTES, PART_BYTES, RECORD_HEADER_BYTES, RawFooterTail,
};
use super::record::RecordBuilder;
use crate::types::{Lsn, len32, round_up};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a footer group in addition to the index: group header, record header, one table entry, tail.
const AROUND: usize = GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + PART_BYTES + FOOTER_TAIL_BYTES;

/// The fields of the tail of a footer group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FooterTail {
    /// Offset of the footer group in the segment file.
    pub group_offset: u32,
    /// Length of the index in bytes.
    pub index_bytes: u32,
}

impl FooterTail {
    /// Offset of the index in the segment file; a multiple of 8, so that it can be mapped.
    pub fn index_offset(&self) -> u32 {
        self.group_offset.saturating_add(len32(AROUND - FOOTER_TAIL_BYTES))
    }
}

/// Bytes of a footer group on disk for an index of `index_bytes` bytes; `None` if they exceed 4 GiB.
pub fn tail_bytes(index_bytes: u32, block_bytes: u32) -> Option<u32> {
    round_up(index_bytes.checked_add(len32(AROUND))?, block_bytes)
}

/// Turns `index` into the record of a footer group that starts at `lsn`. The record's part is the index, zeros up to
/// the end of the last block, and the tail.
pub fn close_footer(mut index: Vec<u8>, lsn: Lsn, salt: u64, block_bytes: u32) -> RecordBuilder {
    let index_bytes = len32(index.len());
    let disk_bytes = tail_bytes(index_bytes, block_bytes).unwrap_or(u32::MAX);
    let mut tail = RawFooterTail {
        magic: FOOTER_MAGIC,
        group_offset: lsn.offset().into(),
        index_bytes: index_bytes.into(),
        crc: 0.into(),
    };
    let end = Lsn::from_u64(lsn.as_u64() + u64::from(disk_bytes));
    tail.crc = (crc(&tail.as_bytes()[..FOOTER_TAIL_BYTES - 4]) ^ seed(salt, end)).into();
    index.resize(index.len() + (disk_bytes as usize - AROUND - index.len()), 0);
    index.extend_from_slice(tail.as_bytes());
    let mut batch = RecordBuilder::new();
    batch.push_part(&index);
    batch
}

/// Decodes the last [`FOOTER_TAIL_BYTES`] bytes before `end`, the end of a segment's last group; `None` if they are
/// no valid tail.
pub fn read_tail(bytes: &[u8], salt: u64, end: Lsn) -> Option<FooterTail> {
    let raw = RawFooterTail::ref_from_bytes(bytes).ok()?;
    if raw.magic != FOOTER_MAGIC || crc(&bytes[..FOOTER_TAIL_BYTES - 4]) ^ seed(salt, end) != raw.crc.get() {
        return None;
    }
    Some(FooterTail { group_offset: raw.group_offset.get(), index_bytes: raw.index_bytes.get() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability;

    #[test]
    fn the_tail_ends_the_last_block() {
        for n in [0, 1, 3967, 3968, 3969, 3984, 3985, 10_000] {
            let lsn = Lsn::new(2, 40_960);
            let disk = tail_bytes(u32::try_from(n).unwrap(), 4096).unwrap();
            let batch = close_footer(vec![5; n], lsn, 11, 4096);
            assert_eq!(GROUP_HEADER_BYTES + batch.encoded_len(), disk as usize, "{n}");
            let mut bytes = Vec::new();
            batch.encode_into(Durability::Lazy, 11, Lsn::new(2, 40_960 + 64), &mut |b| bytes.extend(b));
            let end = Lsn::new(2, 40_960 + disk);
            let tail = read_tail(&bytes[bytes.len() - FOOTER_TAIL_BYTES..], 11, end).unwrap();
            assert_eq!(tail, FooterTail { group_offset: 40_960, index_bytes: u32::try_from(n).unwrap() });
            assert_eq!(tail.index_offset() % 8, 0);
            let at = (tail.index_offset() - 40_960 - 64) as usize;
            assert!(bytes[at..at + n].iter().all(|&b| b == 5));
            assert!(read_tail(&bytes[bytes.len() - FOOTER_TAIL_BYTES..], 12, end).is_none());
        }
    }
}
