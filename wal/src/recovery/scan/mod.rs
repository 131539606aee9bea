//! Reads a segment file and states what it holds; decides nothing.
//!
//! One scanner serves recovery, inspection and verification. It reads the medium, not the page cache. It visits every
//! block, so it finds heads after a gap; for an open, it visits every block in which a group can start
//! (`docs/decisions/0017-how-far-open-reads.md`).
//!
//! # Claims
//!
//! A head claims the bytes up to its group's end. After a group that is not valid the scan continues at the next
//! *block*, so several heads can claim the same bytes. The groups that a log writes to a segment follow each other
//! without gaps, and a segment number is never used again, so claims of heads that a log wrote never overlap,
//! whatever a crash or rot leaves of them: only fabricated bytes can do that. Checking every claim of such a segment
//! would take time quadratic in its length. So claims that overlap failed ones are checked only up to a budget. From
//! the first claim that exceeds the budget on, the scan reads the header at every block and checks no group: each
//! further head is [`GroupFault::Unchecked`], which counts as not valid (INV-9). A scan therefore checks at most
//! three times the bytes of the file: those of valid groups, those of groups that fail, and the budget.
//!
//! This never makes a verdict more lenient (INV-5). The first group of a segment that is not valid was checked, as
//! were all groups before it, because they use nothing of the budget. So the end of the log, and whether bytes there
//! are suspect, are the same as after a full check. The watermark is the maximum over all heads, and the list of
//! heads can only get longer, because it includes heads inside unchecked groups. Strict mode needs nothing else from
//! the bytes after the first group that is not valid; degraded mode refuses the log when it meets an unchecked group.

use crate::format::layout::{GROUP_HEADER_BYTES, RECORD_ALIGN, SECTOR_BYTES};
use crate::format::{GroupFault, GroupHeader, HeaderFault, RecordRef, SegmentHeader, record_at};
use crate::recovery::evidence::{GroupHead, ScanExtent, SegmentScan};
use crate::recovery::pieces::Pieces;
use crate::segment::read_ahead::ReadAhead;
use crate::types::{GroupKind, Lsn, PriorContents, is_zeros, len32};
use seawall_disk::{AlignedBuf, DiskFile, read_exact_medium};
use std::io;

/// Distance between the sampled blocks where no group can be, in bytes.
const SAMPLE_EVERY_BYTES: u32 = 4 << 20;

/// Longest group that is held in memory before it is checked, in bytes.
const HELD_BYTES: u32 = 4 << 20;

/// A valid group with its bytes, while a scan or a visit holds them.
#[derive(Debug)]
pub struct ScannedGroup<'a> {
    pub(crate) head: &'a GroupHead,
    pub(crate) header: &'a GroupHeader,
    pub(crate) salt: u64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> ScannedGroup<'a> {
    /// Position of its first byte.
    pub fn lsn(&self) -> Lsn {
        self.header.lsn
    }

    /// The scan's result for the group.
    pub fn head(&self) -> &'a GroupHead {
        self.head
    }

    /// Bytes after its last record, up to the block boundary.
    pub fn padding_bytes(&self) -> u32 {
        len32(self.bytes.len())
            .saturating_sub(len32(GROUP_HEADER_BYTES))
            .saturating_sub(self.header.body_bytes)
    }

    /// Its records in order; for a footer, the one record that holds the index.
    pub fn records(&self) -> impl Iterator<Item = RecordRef<'a>> + use<'a> {
        records(self.header, self.salt, self.bytes)
    }
}

/// Scans the file of segment `sequence` of the log `uuid`, and hands every valid group to `each` while its bytes are
/// in memory. If `bounded`, it stops where no group can follow.
pub(crate) fn scan_with(
    file: &dyn DiskFile,
    sequence: u32,
    uuid: &[u8; 16],
    block_bytes: u32,
    bounded: bool,
    each: &mut dyn FnMut(&ScannedGroup<'_>),
) -> io::Result<SegmentScan> {
    Ok(scan_counted(file, sequence, uuid, block_bytes, bounded, each)?.0)
}

/// As [`scan_with`]; also returns the number of bytes that were checked.
fn scan_counted(
    file: &dyn DiskFile,
    sequence: u32,
    uuid: &[u8; 16],
    block_bytes: u32,
    bounded: bool,
    each: &mut dyn FnMut(&ScannedGroup<'_>),
) -> io::Result<(SegmentScan, u64)> {
    let mut scan = SegmentScan::unreadable(sequence);
    let header = match read_header(file, sequence, uuid, block_bytes)? {
        Ok(header) => header,
        Err(fault) => {
            scan.header = Err(fault);
            return Ok((scan, 0));
        }
    };
    scan.header = Ok(header);
    scan.zeros_from = block_bytes;
    // The header's length equals the file's and was checked to fit 32 bits.
    let file_bytes = u32::try_from(header.file_bytes).unwrap_or(u32::MAX);
    let mut window = ReadAhead::whole(file_bytes);
    let mut claims = Claims::of(&header, file_bytes);
    let mut at = block_bytes;
    let mut reach = TailBound::of(&header).filter(|_| bounded);
    while at < file_bytes {
        if let Some(near) = reach.filter(|near| near.ends_before(at, scan.zeros_from)) {
            if near.rest_is_zeros(file, at, file_bytes)? {
                scan.extent = ScanExtent::UpToBound;
                break;
            }
            reach = None;
        }
        window.read_ahead_to(reach.map_or(file_bytes, |near| near.bound()));
        let block = window.range(file, at, block_bytes)?;
        let lsn = Lsn::new(sequence, at);
        let Some(group) = GroupHeader::decode(block, header.salt, lsn) else {
            if !is_zeros(block) {
                scan.zeros_from = at + block_bytes;
                if !is_zeros(&block[..SECTOR_BYTES as usize]) {
                    scan.unexplained_blocks.push(at);
                }
            }
            at += block_bytes;
            continue;
        };
        let head = claims.check(&mut window, file, &group, each)?;
        if let Some(near) = &mut reach {
            near.meet(&head);
        }
        at = if head.fault.is_none() { head.end } else { at + block_bytes };
        scan.zeros_from = at;
        scan.heads.push(head);
    }
    Ok((scan, claims.checked))
}

/// How far after the groups found so far another group can start; decision 17 has the argument.
#[derive(Clone, Copy, Debug)]
struct TailBound {
    /// Length of a stretch without a group after which no group follows, in bytes.
    stretch: u32,
    block_bytes: u32,
    /// End of the groups found so far.
    end: u32,
    /// Whether the last group announces that the next one is longer than the reach.
    announced: bool,
}

impl TailBound {
    /// `None` unless the segment's blocks were zeros and its header promises a reach.
    fn of(header: &SegmentHeader) -> Option<TailBound> {
        let block_bytes = header.block_bytes;
        let stretch = (2 * u32::from(header.reach_blocks) + 1).saturating_mul(block_bytes);
        let reach = TailBound { stretch, block_bytes, end: block_bytes, announced: false };
        (header.reach_blocks > 0 && header.prior == PriorContents::Zeros).then_some(reach)
    }

    /// Offset from which on no group can start, judged by the groups found so far.
    fn bound(&self) -> u32 {
        if self.announced { u32::MAX } else { self.end.saturating_add(self.stretch) }
    }

    fn meet(&mut self, head: &GroupHead) {
        self.end = self.end.max(head.end);
        self.announced = head.kind == GroupKind::Announcement;
    }

    /// Whether no group can be at or after `at`, given that only zeros were found from `zeros_from` on.
    fn ends_before(&self, at: u32, zeros_from: u32) -> bool {
        zeros_from <= self.end && at >= self.bound()
    }

    /// Whether sampled blocks of the rest are zeros. If not, more than one thing went wrong.
    fn rest_is_zeros(&self, file: &dyn DiskFile, at: u32, file_bytes: u32) -> io::Result<bool> {
        let mut block = AlignedBuf::zeroed(self.block_bytes as usize);
        let from = at.saturating_add(SAMPLE_EVERY_BYTES);
        for at in (from..file_bytes).step_by(SAMPLE_EVERY_BYTES as usize) {
            read_exact_medium(file, &mut block, u64::from(at), self.block_bytes as usize)?;
            if !is_zeros(&block) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The scan result of a segment that is known to hold only its header.
pub(crate) fn untouched(
    file: &dyn DiskFile,
    sequence: u32,
    uuid: &[u8; 16],
    block_bytes: u32,
) -> io::Result<SegmentScan> {
    let header = read_header(file, sequence, uuid, block_bytes)?;
    let (extent, zeros_from) = (ScanExtent::Whole, block_bytes);
    Ok(SegmentScan {
        sequence,
        header,
        extent,
        heads: Vec::new(),
        zeros_from,
        unexplained_blocks: Vec::new(),
    })
}

/// Reads block 0 and checks it against the file's name, its length and the log.
pub(crate) fn read_header(
    file: &dyn DiskFile,
    sequence: u32,
    uuid: &[u8; 16],
    block_bytes: u32,
) -> io::Result<Result<SegmentHeader, HeaderFault>> {
    let len = file.len()?;
    if len < u64::from(block_bytes) {
        return Ok(Err(HeaderFault::Length(len)));
    }
    let mut block = AlignedBuf::zeroed(block_bytes as usize);
    read_exact_medium(file, &mut block, 0, block_bytes as usize)?;
    Ok(SegmentHeader::decode(&block).and_then(|header| {
        if header.uuid != *uuid {
            Err(HeaderFault::Foreign)
        } else if header.sequence != sequence {
            Err(HeaderFault::Sequence(header.sequence))
        } else if header.block_bytes != block_bytes || header.first_live > sequence {
            Err(HeaderFault::Field)
        } else if header.file_bytes != len || u32::try_from(len).is_err() || len % u64::from(block_bytes) != 0
        {
            Err(HeaderFault::Length(len))
        } else {
            Ok(header)
        }
    }))
}

/// The claims of a segment's heads that were checked so far.
#[derive(Debug)]
struct Claims {
    header: SegmentHeader,
    file_bytes: u32,
    /// End of the furthest claim that was checked and is not valid.
    failed_to: u32,
    /// Bytes below `failed_to` that may still be checked again; `None` once no group is checked any more.
    budget: Option<u64>,
    /// Bytes of all claims that were checked.
    checked: u64,
}

impl Claims {
    fn of(header: &SegmentHeader, file_bytes: u32) -> Claims {
        Claims { header: *header, file_bytes, failed_to: 0, budget: Some(u64::from(file_bytes)), checked: 0 }
    }

    /// Checks a group of the segment, and hands it to `each` if it is valid.
    fn check(
        &mut self,
        window: &mut ReadAhead,
        file: &dyn DiskFile,
        group: &GroupHeader,
        each: &mut dyn FnMut(&ScannedGroup<'_>),
    ) -> io::Result<GroupHead> {
        let SegmentHeader { salt, block_bytes, .. } = self.header;
        let mut head = GroupHead::of(group, block_bytes);
        let (offset, end) = (head.offset, head.end);
        if end > self.file_bytes {
            head.fault = Some(GroupFault::Count);
            return Ok(head);
        }
        let again = u64::from(self.failed_to.min(end).saturating_sub(offset));
        let left = self.budget.and_then(|budget| budget.checked_sub(again));
        if left.is_none() {
            head.fault = Some(GroupFault::Unchecked);
            self.budget = None;
            return Ok(head);
        }
        self.checked += u64::from(end - offset);
        if end - offset > HELD_BYTES {
            let mut pieces = Pieces::new(file, (group.lsn.segment(), salt), block_bytes, self.file_bytes);
            head.fault = pieces.check(group, end)?.err();
            if head.fault.is_some() {
                head.zero_sector = pieces.zero_sector(offset, body_end(group))?;
            }
        }
        if head.fault.is_none() {
            let bytes = window.range(file, offset, end - offset)?;
            // Checked again even if it was checked in pieces: the medium may return different bytes each time.
            head.fault = group.check(salt, bytes).err();
            if head.fault.is_some() {
                let body = (body_end(group) - offset) as usize;
                let sectors = bytes.chunks_exact(SECTOR_BYTES as usize);
                head.zero_sector = sectors.take(body.div_ceil(SECTOR_BYTES as usize)).any(is_zeros);
            } else {
                if group.kind == GroupKind::Data {
                    head.footer_bytes = footer_bytes(group, salt, bytes);
                }
                each(&ScannedGroup { head: &head, header: group, salt, bytes });
            }
        }
        if head.fault.is_some() {
            self.budget = left;
            self.failed_to = self.failed_to.max(end);
        }
        Ok(head)
    }
}

/// End of a group's records. The padding after them is zeros whether it was written or not, so only sectors that hold
/// some of the records are evidence of a torn write.
fn body_end(group: &GroupHeader) -> u32 {
    group.lsn.offset().saturating_add(len32(GROUP_HEADER_BYTES)).saturating_add(group.body_bytes)
}

/// Bytes that the records of a valid group add to their segment's footer.
fn footer_bytes(group: &GroupHeader, salt: u64, bytes: &[u8]) -> u32 {
    records(group, salt, bytes).fold(0, |sum, record| sum.saturating_add(record.footer_bytes()))
}

/// The records of a valid group in order; stops at one that is not valid.
pub(crate) fn records<'a>(
    group: &GroupHeader,
    salt: u64,
    bytes: &'a [u8],
) -> impl Iterator<Item = RecordRef<'a>> + use<'a> {
    let (start, mut left) = (group.lsn, group.record_count);
    let mut at = GROUP_HEADER_BYTES;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let lsn = Lsn::from_u64(start.as_u64() + at as u64);
        let record = record_at(bytes, at, salt, lsn).ok()?;
        at = (at + record.len()).next_multiple_of(RECORD_ALIGN as usize);
        Some(record)
    })
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
