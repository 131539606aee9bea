//! Reading: records in log order, and single ranges by position.
//!
//! Reads durable bytes only, from the segments' files, and checks what it hands out. Never writes.
//! Fails with the place of whatever does not check.

use crate::disk::{AlignedBuf, read_exact_at};
use crate::error::Error;
use crate::facts::{Damage, DamageKind};
use crate::frame::layout::{GROUP_HEADER_BYTES, PART_BYTES, RECORD_ALIGN, RECORD_HEADER_BYTES};
use crate::frame::{GroupHeader, PartInfo, RecordRef, record_at};
use crate::segment::{Segment, file_name};
use crate::types::{Class, GroupKind, Lsn};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The segments that hold the log, for readers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    segments: BTreeMap<u32, Stretch>,
}

/// One segment and where its kept groups end; `None` while it is being appended to.
#[derive(Clone, Debug)]
struct Stretch {
    segment: Arc<Segment>,
    end: Option<u32>,
}

impl Table {
    /// Adds a segment whose kept groups end at `end`.
    pub(crate) fn insert(&mut self, segment: Arc<Segment>, end: Option<u32>) {
        self.segments.insert(segment.sequence, Stretch { segment, end });
    }

    /// The log goes on in `segment`; the one before ends at `previous_end`.
    pub(crate) fn enter(&mut self, previous_end: Lsn, segment: Arc<Segment>) {
        if let Some(stretch) = self.segments.get_mut(&previous_end.segment()) {
            stretch.end = Some(previous_end.offset());
        }
        self.insert(segment, None);
    }

    /// Lets go of the segments below `first_live`, and returns them.
    pub(crate) fn release(&mut self, first_live: u32) -> Vec<Arc<Segment>> {
        let live = self.segments.split_off(&first_live);
        std::mem::replace(&mut self.segments, live).into_values().map(|s| s.segment).collect()
    }

    /// The segment with number `sequence`.
    pub(crate) fn get(&self, sequence: u32) -> Option<Arc<Segment>> {
        self.segments.get(&sequence).map(|s| Arc::clone(&s.segment))
    }

    /// The segment with number `sequence` and its end, if the log has left it and is `durable` beyond that.
    pub(crate) fn sealed(&self, sequence: u32, durable: Lsn) -> Option<(Arc<Segment>, u32)> {
        let stretch = self.segments.get(&sequence)?;
        let end = stretch.end.filter(|&end| Lsn::new(sequence, end) <= durable)?;
        Some((Arc::clone(&stretch.segment), end))
    }

    /// Lowest segment.
    pub(crate) fn first(&self) -> Option<u32> {
        self.segments.first_key_value().map(|(&n, _)| n)
    }

    /// What a reader from `from` to `durable` goes through.
    fn stretches(&self, from: Lsn, durable: Lsn) -> Vec<(Arc<Segment>, u32)> {
        // Rotation leaves a segment when its last groups are enqueued, before they are durable.
        let limit = |s: &Stretch| match s.segment.sequence.cmp(&durable.segment()) {
            Ordering::Less => s.end,
            Ordering::Equal => Some(s.end.map_or(durable.offset(), |end| end.min(durable.offset()))),
            Ordering::Greater => None,
        };
        let range = self.segments.range(from.segment()..=durable.segment().max(from.segment()));
        range.filter_map(|(_, s)| limit(s).map(|end| (Arc::clone(&s.segment), end))).collect()
    }
}

/// Fills `out` with the bytes at `at`; unchecked.
pub(crate) fn read_range(segment: &Segment, location: &str, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
    if u64::from(at.offset()) + out.len() as u64 > u64::from(segment.file_bytes) {
        return Err(Error::NotInLog { lsn: at });
    }
    read_exact_at(&*segment.file, out, u64::from(at.offset()))
        .map_err(|e| Error::io("read", location, file_name(segment.sequence), e))
}

/// One record of the log. Cheap to clone: it shares the bytes of its group.
#[derive(Clone, Debug)]
pub struct Record {
    lsn: Lsn,
    class: Class,
    group: Arc<AlignedBuf>,
    at: usize,
    meta_bytes: usize,
    part_count: usize,
}

impl Record {
    /// Position of its first byte.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The class that it was appended with.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The caller's own bytes.
    pub fn meta(&self) -> &[u8] {
        let from = self.at + RECORD_HEADER_BYTES;
        &self.group[from..from + self.meta_bytes]
    }

    /// Number of parts.
    pub fn part_count(&self) -> usize {
        self.part_count
    }

    /// The parts: where each lies in its segment, and its bytes.
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

    fn new(record: &RecordRef<'_>, group: &Arc<AlignedBuf>, at: usize) -> Record {
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

/// The records of the log in order. Stops for good after an error.
#[derive(Debug)]
pub struct Records {
    location: String,
    block_bytes: u32,
    stretches: std::vec::IntoIter<(Arc<Segment>, u32)>,
    /// The segment being read, the offset of its next group, and the limit.
    current: Option<(Arc<Segment>, u32, u32)>,
    group: Option<(GroupHeader, Arc<AlignedBuf>)>,
    at: usize,
    left: u32,
    from: Lsn,
    failed: bool,
}

impl Records {
    /// Records from `from` on, up to `durable`.
    pub(crate) fn new(table: &Table, location: String, block_bytes: u32, from: Lsn, durable: Lsn) -> Records {
        Records {
            location,
            block_bytes,
            stretches: table.stretches(from, durable).into_iter(),
            current: None,
            group: None,
            at: 0,
            left: 0,
            from,
            failed: false,
        }
    }

    fn step(&mut self) -> Result<Option<Record>, Error> {
        loop {
            if let Some((header, bytes)) = &self.group
                && self.left > 0
            {
                let lsn = Lsn::from_u64(header.lsn.as_u64() + self.at as u64);
                let salt = self.current.as_ref().map_or(0, |(s, _, _)| s.salt);
                // The group was checked as a whole when it was read.
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

    /// Reads the next group with records of callers; `false` at the end.
    fn next_group(&mut self) -> Result<bool, Error> {
        loop {
            let (segment, at, limit) = match self.current.take() {
                Some((segment, at, limit)) if at < limit => (segment, at, limit),
                _ => match self.stretches.next() {
                    Some((segment, limit)) => (segment, self.block_bytes, limit),
                    None => return Ok(false),
                },
            };
            if at >= limit {
                continue;
            }
            let (header, bytes) = self.read_group(&segment, at, limit)?;
            let end = at + crate::types::len32(bytes.len());
            self.current = Some((segment, end, limit));
            if header.kind == GroupKind::Data {
                self.left = header.record_count;
                self.at = GROUP_HEADER_BYTES;
                self.group = Some((header, Arc::new(bytes)));
                return Ok(true);
            }
        }
    }

    fn read_group(&self, segment: &Segment, at: u32, limit: u32) -> Result<(GroupHeader, AlignedBuf), Error> {
        let lsn = Lsn::new(segment.sequence, at);
        let mut bytes = AlignedBuf::zeroed(self.block_bytes as usize);
        read_range(segment, &self.location, lsn, &mut bytes)?;
        let header = GroupHeader::decode(&bytes, segment.salt, lsn)
            .ok_or_else(|| self.damaged(lsn, Lsn::new(segment.sequence, limit), DamageKind::NoGroup))?;
        let length = header.disk_bytes(self.block_bytes).filter(|&n| n <= limit - at).ok_or_else(|| {
            let fault = crate::frame::GroupFault::Count;
            self.damaged(lsn, Lsn::new(segment.sequence, limit), DamageKind::Group(fault))
        })?;
        let first = bytes.len();
        bytes.set_len_for_read(length as usize);
        let rest = Lsn::new(segment.sequence, at + crate::types::len32(first));
        read_range(segment, &self.location, rest, &mut bytes[first..])?;
        header.check(segment.salt, &bytes).map_err(|fault| {
            let to = Lsn::new(segment.sequence, at + length);
            self.damaged(lsn, to, DamageKind::Group(fault))
        })?;
        Ok((header, bytes))
    }

    fn damaged(&self, from: Lsn, to: Lsn, what: DamageKind) -> Error {
        Error::Corrupt { path: self.location.clone(), damage: [Damage { from, to, what }].into() }
    }
}

impl Iterator for Records {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}
