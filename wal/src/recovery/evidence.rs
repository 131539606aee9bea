//! What a scan finds and what recovery concludes, as plain values.
//!
//! Between the scanner, which reads bytes and decides nothing, and the verdict, which decides and reads
//! no bytes. The damage list is what a refusal names.

use crate::format::{GroupFault, GroupHeader, HeaderFault, SegmentHeader};
use crate::types::{GroupKind, Lsn};

/// A head: a block whose group header checks out at its own position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHead {
    /// Offset of the group in its segment.
    pub offset: u32,
    /// Offset just behind the group; may exceed the file if the header says so.
    pub end: u32,
    /// What the group is for.
    pub kind: GroupKind,
    /// See the format: the durable prefix when the group was issued.
    pub watermark: Lsn,
    /// End of the kept log before the segment.
    pub previous_end: Lsn,
    /// Lowest live segment once the group is durable.
    pub first_live: u32,
    /// Number of records.
    pub record_count: u32,
    /// Sum of what its records add to the segment's footer, in bytes.
    pub footer_bytes: u32,
    /// Wall clock at issue, milliseconds since the Unix epoch.
    pub wall_clock_ms: u64,
    /// Why the group is not valid; `None` for a valid one.
    pub fault: Option<GroupFault>,
    /// Whether some sector of its header and records, padding left out, is all zeros: only then can a
    /// fault be a torn write.
    pub zero_sector: bool,
}

impl GroupHead {
    /// What the header alone says, as if everything behind it were right.
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
    /// Its header, and the headers of its first group and of the footer that seals it. What lies between
    /// them, and behind the footer, was not looked at; only the footer's word stands for it.
    EndsOnly,
    /// Every block that groups can have been written to, as far as those that were found tell: behind them are
    /// zeros for twice the segment's reach. Of the rest a block here and there was looked at.
    UpToBound,
}

/// One segment file as found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentScan {
    /// The number in the file's name.
    pub sequence: u32,
    /// The header, or why there is none; a wrong length or number counts here.
    pub header: Result<SegmentHeader, HeaderFault>,
    /// How much of it was read.
    pub extent: ScanExtent,
    /// All heads in ascending order, those inside of valid groups left out. Of a segment of which only the
    /// ends were read: its first group and its footer.
    pub heads: Vec<GroupHead>,
    /// Offset from which on everything is zeros.
    pub zeros_from: u32,
    /// Blocks outside of valid groups that are no heads but do not start with a sector of zeros.
    pub unexplained_blocks: Vec<u32>,
}

impl SegmentScan {
    /// The footer, if nothing but the ends was read.
    pub fn sealing_footer(&self) -> Option<&GroupHead> {
        if self.extent == ScanExtent::EndsOnly { self.heads.last() } else { None }
    }

    /// What is known of a file that the medium does not give back.
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
