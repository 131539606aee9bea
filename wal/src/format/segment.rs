//! Encodes and decodes the segment header: block 0 of a segment file, written once, before the file gets its name.

use super::checksum::crc;
use super::layout::{FORMAT_VERSION, RawSegmentHeader, SEGMENT_HEADER_BYTES, SEGMENT_MAGIC};
use crate::types::PriorContents;
use zerocopy::{FromBytes, IntoBytes};

/// The fields of a segment header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Identity of the log to which the segment belongs.
    pub uuid: [u8; 16],
    /// Number of the segment, which is the high half of its LSNs.
    pub sequence: u32,
    /// Random number of this incarnation of the file, which is part of every checksum of the segment.
    pub salt: u64,
    /// Lowest live segment, as acknowledged when the header was written.
    pub first_live: u32,
    /// Block size in bytes.
    pub block_bytes: u32,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Contents of the blocks when the header was written.
    pub prior: PriorContents,
    /// The segment's *reach*, in blocks. When a group of the segment is issued, at most this many blocks of groups
    /// before it are not durable. A group that is longer than the reach is issued only when everything before it is
    /// durable, and the group before it is an announcement in the same segment. 0 if nothing of this is promised.
    pub reach_blocks: u16,
}

/// Why a segment header is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderFault {
    /// The block does not start with the magic bytes of a segment.
    Magic,
    /// The header has this version of the format, which is not supported.
    Version(u32),
    /// The checksum does not match, or bytes after the structure are not zero.
    Checksum,
    /// The segment belongs to another log.
    Foreign,
    /// The header has this sequence number, which is not the one in the file's name.
    Sequence(u32),
    /// The block size differs from the identity's, `prior` is not a known value, or the first live segment is a later
    /// one.
    Field,
    /// The file has this length in bytes, which is not the one in the header.
    Length(u64),
    /// The header could not be read: the medium reports an error, or the file ends inside it.
    Unreadable,
}

impl SegmentHeader {
    /// Writes the header into `block`, and zeros after it up to the end of `block`.
    pub fn encode(&self, block: &mut [u8]) {
        let mut raw = RawSegmentHeader {
            magic: SEGMENT_MAGIC,
            version: FORMAT_VERSION.into(),
            block_bytes: self.block_bytes.into(),
            uuid: self.uuid,
            salt: self.salt.into(),
            sequence: self.sequence.into(),
            first_live: self.first_live.into(),
            file_bytes: self.file_bytes.into(),
            prior: match self.prior {
                PriorContents::Zeros => 0,
                PriorContents::Stale => 1,
            },
            reserved: 0,
            reach_blocks: self.reach_blocks.into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..SEGMENT_HEADER_BYTES - 4]).into();
        block.fill(0);
        block[..SEGMENT_HEADER_BYTES].copy_from_slice(raw.as_bytes());
    }

    /// Decodes block 0. The caller must check the header against the file's name, its length and the log.
    pub fn decode(block: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let (raw, rest) = RawSegmentHeader::ref_from_prefix(block).map_err(|_| HeaderFault::Unreadable)?;
        if raw.magic != SEGMENT_MAGIC {
            return Err(HeaderFault::Magic);
        }
        if raw.version.get() != FORMAT_VERSION {
            return Err(HeaderFault::Version(raw.version.get()));
        }
        if crc(&block[..SEGMENT_HEADER_BYTES - 4]) != raw.crc.get() || rest.iter().any(|&b| b != 0) {
            return Err(HeaderFault::Checksum);
        }
        Ok(SegmentHeader {
            uuid: raw.uuid,
            sequence: raw.sequence.get(),
            salt: raw.salt.get(),
            first_live: raw.first_live.get(),
            block_bytes: raw.block_bytes.get(),
            file_bytes: raw.file_bytes.get(),
            prior: match (raw.prior, raw.reserved) {
                (0, 0) => PriorContents::Zeros,
                (1, 0) => PriorContents::Stale,
                _ => return Err(HeaderFault::Field),
            },
            reach_blocks: raw.reach_blocks.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_bit() {
        let header = SegmentHeader {
            uuid: [3; 16],
            sequence: 5,
            salt: 0x1234_5678_9ABC_DEF0,
            first_live: 2,
            block_bytes: 4096,
            file_bytes: 1 << 20,
            prior: PriorContents::Stale,
            reach_blocks: 300,
        };
        let mut block = vec![0xFF; 4096];
        header.encode(&mut block);
        assert_eq!(SegmentHeader::decode(&block), Ok(header));
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(SegmentHeader::decode(&block[..10]), Err(HeaderFault::Unreadable));
    }
}
