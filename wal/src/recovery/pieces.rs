//! Checks a group while only a piece of it is in memory.
//!
//! A header may claim that its group is as long as the file, so the claim is checked before the group is held in
//! memory. The results equal those of [`GroupHeader::check`]; a test compares the two. Holds two read-ahead windows,
//! and reads at most a few times the bytes of the group.

use crate::format::checksum::{Sum, seed};
use crate::format::layout::{
    GROUP_HEADER_BYTES, PART_BYTES, RECORD_ALIGN, RECORD_HEADER_BYTES, SECTOR_BYTES,
};
use crate::format::{GroupFault, GroupHeader, RawPart, RawRecordHeader, RecordFault};
use crate::segment::read_ahead::ReadAhead;
use crate::types::{Lsn, is_zeros, len32, round_up};
use seawall_disk::DiskFile;
use std::io;
use std::ops::ControlFlow;
use zerocopy::FromBytes;

/// Bytes that are checked together, a multiple of every block size.
const PIECE_BYTES: u32 = 256 << 10;
/// Bytes of a part table that are copied together.
const TABLE_BYTES: usize = 512 * PART_BYTES;
/// Bytes that are read ahead in a part table.
const AHEAD_BYTES: u32 = 64 << 10;

/// A segment file that is read in pieces. All offsets are offsets in the file.
pub(crate) struct Pieces<'a> {
    file: &'a dyn DiskFile,
    block_bytes: u32,
    salt: u64,
    sequence: u32,
    body: ReadAhead,
    /// Window for part tables, which are read alternately with the parts that they describe.
    tables: ReadAhead,
}

impl<'a> Pieces<'a> {
    /// Prepares to read the segment `sequence`, whose file has `file_bytes` bytes.
    pub(crate) fn new(
        file: &'a dyn DiskFile,
        (sequence, salt): (u32, u64),
        block_bytes: u32,
        file_bytes: u32,
    ) -> Pieces<'a> {
        let (body, tables) = (ReadAhead::whole(file_bytes), ReadAhead::growing(file_bytes));
        Pieces { file, block_bytes, salt, sequence, body, tables }
    }

    /// As [`GroupHeader::check`] over all bytes of `group`, which ends at `end`, read from the file.
    pub(crate) fn check(&mut self, group: &GroupHeader, end: u32) -> io::Result<Result<(), GroupFault>> {
        let start = group.lsn.offset();
        let first = start.saturating_add(len32(GROUP_HEADER_BYTES));
        let Some(body_end) = first.checked_add(group.body_bytes).filter(|&body_end| body_end <= end) else {
            return Ok(Err(GroupFault::Count));
        };
        if group.kind.is_mark() != (group.record_count == 0) {
            return Ok(Err(GroupFault::Count));
        }
        self.body.read_ahead_to(end);
        let mut at = first;
        for _ in 0..group.record_count {
            let length = match self.record(at, body_end)? {
                Ok(length) => length,
                Err(fault) => return Ok(Err(GroupFault::Record(at - start, fault))),
            };
            let record_end = at + length;
            at = round_up(record_end, RECORD_ALIGN).unwrap_or(u32::MAX).min(body_end);
            if let Some(odd) = self.first_byte(record_end, at)? {
                return Ok(Err(GroupFault::Padding(odd - start)));
            }
        }
        if at != body_end {
            return Ok(Err(GroupFault::Count));
        }
        let odd = self.first_byte(body_end, end)?;
        Ok(odd.map_or(Ok(()), |odd| Err(GroupFault::Padding(odd - start))))
    }

    /// Whether one of the sectors that overlap the bytes `from..to` is all zeros; `from` is the start of a sector.
    pub(crate) fn zero_sector(&mut self, from: u32, to: u32) -> io::Result<bool> {
        let (mut found, to) = (false, round_up(to, SECTOR_BYTES).unwrap_or(u32::MAX));
        self.each_piece((from, to), &mut |_, piece| {
            found = piece.chunks_exact(SECTOR_BYTES as usize).any(is_zeros);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    /// Checks the record at `at` and its parts; returns its length in bytes if they are valid.
    fn record(&mut self, at: u32, end: u32) -> io::Result<Result<u32, RecordFault>> {
        let space = end - at;
        if (space as usize) < RECORD_HEADER_BYTES {
            return Ok(Err(RecordFault::Length));
        }
        let mut bytes = [0; RECORD_HEADER_BYTES];
        let header_end = at + len32(RECORD_HEADER_BYTES);
        self.each_piece((at, header_end), &mut |done, piece| {
            bytes[done..done + piece.len()].copy_from_slice(piece);
            ControlFlow::Continue(())
        })?;
        let Ok(raw) = RawRecordHeader::read_from_bytes(&bytes) else {
            return Ok(Err(RecordFault::Length));
        };
        let (length, meta, parts) = (raw.length.get(), raw.meta_bytes.get(), raw.part_count.get());
        let table_bytes = u64::from(parts) * PART_BYTES as u64;
        let head_bytes = RECORD_HEADER_BYTES as u64 + u64::from(meta) + table_bytes;
        if length > space || head_bytes > u64::from(length) {
            return Ok(Err(RecordFault::Length));
        }
        let table = (header_end + meta, at + u32::try_from(head_bytes).unwrap_or(u32::MAX));
        let lsn = Lsn::new(self.sequence, at);
        if self.sum(at + 4, table.1)? ^ seed(self.salt, lsn) != raw.crc.get() {
            return Ok(Err(RecordFault::Checksum));
        }
        if !(matches!(raw.class, 0 | 1) && raw.flags == 0 && raw.reserved.get() == 0) {
            return Ok(Err(RecordFault::Field));
        }
        let mut sum = 0;
        self.each_part(table, &mut |_, part| {
            sum += u64::from(part.length.get());
            Ok(ControlFlow::Continue(()))
        })?;
        if sum != u64::from(length) - head_bytes {
            return Ok(Err(RecordFault::Length));
        }
        let (mut number, mut from, mut bad) = (0, table.1, None);
        self.each_part(table, &mut |pieces, part| {
            // The sum of the lengths was checked above, so the part is inside the record.
            let to = from + part.length.get();
            if pieces.sum(from, to)? != part.crc.get() {
                bad = Some(number);
                return Ok(ControlFlow::Break(()));
            }
            (number, from) = (number + 1, to);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(bad.map_or(Ok(length), |part| Err(RecordFault::Part(part))))
    }

    /// Hands the entries of the part table at the bytes `from..to` to `each`, until it breaks.
    fn each_part(
        &mut self,
        (mut from, to): (u32, u32),
        each: &mut dyn FnMut(&mut Self, RawPart) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        let mut entries = [0; TABLE_BYTES];
        self.tables.read_ahead_to(from.saturating_add(AHEAD_BYTES) & !(self.block_bytes - 1));
        while from < to {
            let part_of_it = to.min(from + len32(TABLE_BYTES));
            let (file, block_bytes) = (self.file, self.block_bytes);
            each_piece(&mut self.tables, file, block_bytes, (from, part_of_it), &mut |done, piece| {
                entries[done..done + piece.len()].copy_from_slice(piece);
                ControlFlow::Continue(())
            })?;
            for entry in entries[..(part_of_it - from) as usize].chunks_exact(PART_BYTES) {
                let Ok(part) = RawPart::read_from_bytes(entry) else { continue };
                if each(self, part)?.is_break() {
                    return Ok(());
                }
            }
            from = part_of_it;
        }
        Ok(())
    }

    /// CRC-32C of the bytes `from..to`.
    fn sum(&mut self, from: u32, to: u32) -> io::Result<u32> {
        let mut sum = Sum::new();
        self.each_piece((from, to), &mut |_, piece| {
            sum.update(piece);
            ControlFlow::Continue(())
        })?;
        Ok(sum.value())
    }

    /// Offset of the first byte in `from..to` that is not zero.
    fn first_byte(&mut self, from: u32, to: u32) -> io::Result<Option<u32>> {
        let mut first = None;
        self.each_piece((from, to), &mut |done, piece| {
            first = piece.iter().position(|&byte| byte != 0).map(|i| from + len32(done + i));
            if first.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(first)
    }

    fn each_piece(
        &mut self,
        range: (u32, u32),
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        each_piece(&mut self.body, self.file, self.block_bytes, range, each)
    }
}

/// Hands the bytes `from..to` to `each` in pieces, each with its distance from the first byte, until `each` breaks.
/// Reads begin and end at block boundaries.
fn each_piece(
    window: &mut ReadAhead,
    file: &dyn DiskFile,
    block_bytes: u32,
    (from, to): (u32, u32),
    each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let start = at & !(block_bytes - 1);
        let whole = round_up(to, block_bytes).unwrap_or(u32::MAX);
        let end = whole.min(start.saturating_add(PIECE_BYTES));
        let bytes = window.range(file, start, end - start)?;
        let stop = to.min(end);
        let piece = &bytes[(at - start) as usize..(stop - start) as usize];
        if each((at - from) as usize, piece).is_break() {
            return Ok(());
        }
        at = stop;
    }
    Ok(())
}
