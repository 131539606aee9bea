//! The results of a scan as plain values.
//!
//! The scanner reads bytes and decides nothing; the verdict decides over these values and reads no bytes.

use crate::format::{GroupFault, GroupHeader, HeaderFault, SegmentHeader};
use crate::types::{GroupKind, Lsn};

/// A head: a block whose group header is valid at its own position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHead {
    /// Offset of the group in its segment.
    pub offset: u32,
    /// Offset of the first byte after the group; larger than the file if the header claims so.
    pub end: u32,
    /// Purpose of the group.
    pub kind: GroupKind,
    /// End of the durable prefix of the log when the group was issued.
    pub watermark: Lsn,
    /// End of the kept log before the segment.
    pub previous_end: Lsn,
    /// Lowest live segment once the group is durable.
    pub first_live: u32,
    /// Number of records.
    pub record_count: u32,
    /// Sum of the bytes that its records add to the segment's footer.
    pub footer_bytes: u32,
    /// Wall clock at issue, milliseconds since the Unix epoch.
    pub wall_clock_ms: u64,
    /// Why the group is not valid; `None` for a valid one.
    pub fault: Option<GroupFault>,
    /// Whether some sector of its header and records, without padding, is all zeros: only then can a fault be a torn
    /// write.
    pub zero_sector: bool,
}

impl GroupHead {
    /// The head that the header alone describes, as if everything after the header were valid.
    pub(crate) fn of(group: &GroupHeader, block_bytes: u32) -> GroupHead {
        let (offset, length) = (group.lsn.offset(), group.disk_bytes(block_bytes).unwrap_or(u32::MAX));
        GroupHead {
            offset,
            end: offset.saturating_add(length),
            kind: group.kind,
            watermark: group.watermark,
            previous_end: group.previous_end,
            first_live: group.first_live,
            record_count: group.record_count,
            footer_bytes: 0,
            wall_clock_ms: group.wall_clock_ms,
            fault: None,
            zero_sector: false,
        }
    }
}

/// How much of a segment was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanExtent {
    /// Every block.
    Whole,
    /// The header of the segment, and the headers of its first group and of the footer that seals it. Blocks between
    /// these groups and after the footer were not read; the footer is the only evidence of them.
    EndsOnly,
    /// Every block to which groups can have been written, judged by the groups that were found: zeros follow them for
    /// twice the segment's reach. Of the rest only samples were read.
    UpToBound,
}

/// The result of scanning one segment file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentScan {
    /// The number in the file's name.
    pub sequence: u32,
    /// The header, or why it is refused; a wrong length or number counts as a fault of the header.
    pub header: Result<SegmentHeader, HeaderFault>,
    /// How much of the segment was read.
    pub extent: ScanExtent,
    /// All heads in ascending order, without those inside valid groups. With [`ScanExtent::EndsOnly`]: the first
    /// group and the footer.
    pub heads: Vec<GroupHead>,
    /// Offset from which on all bytes that were read are zeros.
    pub zeros_from: u32,
    /// Offsets of blocks outside valid groups that are no heads and do not start with a sector of zeros.
    pub unexplained_blocks: Vec<u32>,
}

impl SegmentScan {
    /// The footer, if only the ends were read.
    pub fn sealing_footer(&self) -> Option<&GroupHead> {
        if self.extent == ScanExtent::EndsOnly { self.heads.last() } else { None }
    }

    /// The result for a file that cannot be read.
    pub(crate) fn unreadable(sequence: u32) -> SegmentScan {
        let (header, extent) = (Err(HeaderFault::Unreadable), ScanExtent::Whole);
        SegmentScan {
            sequence,
            header,
            extent,
            heads: Vec::new(),
            zeros_from: 0,
            unexplained_blocks: Vec::new(),
        }
    }
}
