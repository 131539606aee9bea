//! Iterates over the records of the log in log order, group by group.
//!
//! It reads durable bytes from the medium in large pieces, so a replay does not displace pages from the page cache.
//! Each group is checked before any of its records is returned. An error names the range of the group that failed its
//! check.

use crate::damage::{Damage, DamageKind};
use crate::error::Error;
use crate::format::layout::{GROUP_HEADER_BYTES, PART_BYTES, RECORD_ALIGN, RECORD_HEADER_BYTES};
use crate::format::{GroupFault, GroupHeader, PartInfo, RecordRef, record_at};
use crate::read::segment_table::{SegmentTable, damaged};
use crate::segment::names::file_name;
use crate::segment::open_segment::Segment;
use crate::segment::read_ahead::ReadAhead;
use crate::types::{Durability, GroupKind, Lsn};
use std::sync::Arc;

/// One record of the log. Cheap to clone, because it shares the bytes of its group.
#[derive(Clone, Debug)]
pub struct Record {
    lsn: Lsn,
    class: Durability,
    group: Arc<[u8]>,
    at: usize,
    meta_bytes: usize,
    part_count: usize,
}

impl Record {
    /// Position of its first byte.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The durability with which it was appended.
    pub fn class(&self) -> Durability {
        self.class
    }

    /// The caller's own bytes about the record.
    pub fn meta(&self) -> &[u8] {
        let from = self.at + RECORD_HEADER_BYTES;
        &self.group[from..from + self.meta_bytes]
    }

    /// Number of parts.
    pub fn part_count(&self) -> usize {
        self.part_count
    }

    /// The parts: the location of each in its segment file, and its bytes.
    pub fn parts(&self) -> impl Iterator<Item = (PartInfo, &[u8])> {
        let table = self.at + RECORD_HEADER_BYTES + self.meta_bytes;
        let mut from = table + self.part_count * PART_BYTES;
        let mut offset = self.lsn.offset() + crate::types::len32(from - self.at);
        (0..self.part_count).map(move |i| {
            let word = |at: usize| {
                let mut raw = [0; 4];
                raw.copy_from_slice(&self.group[at..at + 4]);
                u32::from_le_bytes(raw)
            };
            let entry = table + i * PART_BYTES;
            let info = PartInfo { offset, length: word(entry), crc: word(entry + 4) };
            let bytes = &self.group[from..from + info.length as usize];
            from += bytes.len();
            offset += info.length;
            (info, bytes)
        })
    }

    fn new(record: &RecordRef<'_>, group: &Arc<[u8]>, at: usize) -> Record {
        Record {
            lsn: record.lsn(),
            class: record.class(),
            group: Arc::clone(group),
            at,
            meta_bytes: record.meta().len(),
            part_count: record.part_count(),
        }
    }
}

/// Iterator over the records of the log in log order.
///
/// It ends after an error, unless the error names a damaged range that was known since open
/// ([`Wal::damaged`](crate::Wal::damaged)): then the iteration continues after that range.
#[derive(Debug)]
pub struct RecordIter {
    location: String,
    block_bytes: u32,
    stretches: std::vec::IntoIter<(Arc<Segment>, u32)>,
    current: Option<Current>,
    group: Option<(GroupHeader, Arc<[u8]>)>,
    at: usize,
    left: u32,
    from: Lsn,
    /// Damaged ranges that were not passed yet.
    damaged_ranges: std::iter::Peekable<std::vec::IntoIter<Damage>>,
    /// Whether the error being returned is that of a range that was passed.
    passed: bool,
    failed: bool,
}

/// The segment being read.
#[derive(Debug)]
struct Current {
    segment: Arc<Segment>,
    window: ReadAhead,
    /// Offset of the next group; `limit` is the offset at which the segment ends.
    at: u32,
    limit: u32,
}

impl RecordIter {
    /// Iterates over the records from `from` up to `durable`.
    pub(crate) fn new(
        table: &SegmentTable,
        location: String,
        block_bytes: u32,
        from: Lsn,
        durable: Lsn,
    ) -> RecordIter {
        RecordIter {
            location,
            block_bytes,
            stretches: table.stretches(from, durable).into_iter(),
            current: None,
            group: None,
            at: 0,
            left: 0,
            from,
            damaged_ranges: table.damaged_ranges.since(from.segment()).into_iter().peekable(),
            passed: false,
            failed: false,
        }
    }

    fn step(&mut self) -> Result<Option<Record>, Error> {
        loop {
            if let Some((header, bytes)) = &self.group
                && self.left > 0
            {
                let lsn = Lsn::from_u64(header.lsn.as_u64() + self.at as u64);
                let salt = self.current.as_ref().map_or(0, |current| current.segment.salt);
                // The whole group was checked when it was read.
                let Ok(record) = record_at(bytes, self.at, salt, lsn) else {
                    return Err(self.damaged(lsn, lsn, DamageKind::NoGroup));
                };
                let item = Record::new(&record, bytes, self.at);
                self.at = (self.at + record.len()).next_multiple_of(RECORD_ALIGN as usize);
                self.left -= 1;
                if item.lsn >= self.from {
                    return Ok(Some(item));
                }
                continue;
            }
            if !self.next_group()? {
                return Ok(None);
            }
        }
    }

    /// Reads the next group that holds records of callers; `false` at the end.
    fn next_group(&mut self) -> Result<bool, Error> {
        loop {
            let mut current = match self.current.take() {
                Some(current) if current.at < current.limit => current,
                _ => match self.stretches.next() {
                    Some((segment, limit)) => {
                        Current { segment, window: ReadAhead::growing(limit), at: self.block_bytes, limit }
                    }
                    None => {
                        return self.damaged_ranges.next().map_or(Ok(false), |range| Err(self.pass(range)));
                    }
                },
            };
            let here = Lsn::new(current.segment.sequence, current.at);
            if let Some(range) = self.damaged_ranges.next_if(|range| range.from <= here) {
                if range.to.segment() == here.segment() {
                    current.at = current.at.max(range.to.offset());
                }
                self.current = Some(current);
                if range.to <= self.from {
                    continue;
                }
                return Err(self.pass(range));
            }
            if current.at >= current.limit {
                continue;
            }
            let (header, bytes) = self.read_group(&mut current)?;
            current.at += crate::types::len32(bytes.len());
            self.current = Some(current);
            if header.kind == GroupKind::Data {
                self.left = header.record_count;
                self.at = GROUP_HEADER_BYTES;
                self.group = Some((header, bytes));
                return Ok(true);
            }
        }
    }

    /// Reads and checks the next group in `current`.
    fn read_group(&self, current: &mut Current) -> Result<(GroupHeader, Arc<[u8]>), Error> {
        let Current { segment, window, at, limit } = current;
        let (at, limit) = (*at, *limit);
        let lsn = Lsn::new(segment.sequence, at);
        let damaged = |to: u32, what| self.damaged(lsn, Lsn::new(segment.sequence, to), what);
        let failed = |e| Error::open("read", &self.location, file_name(segment.sequence), e);
        let first = window.range(&segment.file, at, self.block_bytes).map_err(failed)?;
        let header = GroupHeader::decode(first, segment.salt, lsn)
            .ok_or_else(|| damaged(limit, DamageKind::NoGroup))?;
        let length = header.disk_bytes(self.block_bytes).filter(|&n| n <= limit - at);
        let length = length.ok_or_else(|| damaged(limit, DamageKind::Group(GroupFault::Count)))?;
        let bytes = window.range(&segment.file, at, length).map_err(failed)?;
        let check = header.check(segment.salt, bytes);
        check.map_err(|fault| damaged(at + length, DamageKind::Group(fault)))?;
        Ok((header, Arc::from(bytes)))
    }

    fn pass(&mut self, range: Damage) -> Error {
        self.passed = true;
        damaged(&self.location, range)
    }

    fn damaged(&self, from: Lsn, to: Lsn, what: DamageKind) -> Error {
        damaged(&self.location, Damage { from, to, what })
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_))) && !std::mem::take(&mut self.passed);
        item
    }
}
