//! Reads the kept log up to a position that the caller names: records in log order, footers and single ranges.
//!
//! Open logs and prepared ones share it, so both read the same way. It reads files only: the caller must find bytes
//! that are not durable yet elsewhere.

use crate::damage::Damage;
use crate::error::Error;
use crate::format::RecordRef;
use crate::read::damaged_ranges::{DamagedRanges, records_within};
use crate::read::record_iter::RecordIter;
use crate::read::segment_table::{SegmentTable, damaged, read_range, read_range_again};
use crate::segment::footer::{Footer, FooterLocation, find};
use crate::segment::names::file_name;
use crate::segment::open_segment::Mapped;
use crate::sync::RwLock;
use crate::types::Lsn;

/// Finds the damaged range that a read would touch, if such reads are refused.
pub(crate) type DamagedRange = fn(&DamagedRanges, Lsn, usize) -> Option<Damage>;

/// The segments of the log, for readers.
#[derive(Debug)]
pub(crate) struct LogView {
    pub(crate) table: RwLock<SegmentTable>,
    /// Path of the directory, for error messages.
    pub(crate) location: String,
    pub(crate) block_bytes: u32,
}

impl LogView {
    pub(crate) fn new(table: SegmentTable, location: String, block_bytes: u32) -> LogView {
        LogView { table: RwLock::new(table), location, block_bytes }
    }

    /// The records from `from` up to `to`, which must be durable, in log order.
    pub(crate) fn records(&self, from: Lsn, to: Lsn) -> RecordIter {
        RecordIter::new(&self.table.read(), self.location.clone(), self.block_bytes, from, to)
    }

    /// The footer of `segment`, if the log has left the segment, is `durable` up to its end, and the footer is valid.
    /// Reuses the memory of `used`.
    pub(crate) fn footer(
        &self,
        segment: u32,
        durable: Lsn,
        used: Option<Footer>,
    ) -> Result<Option<Footer>, Error> {
        let sealed = self.table.read().sealed(segment, durable);
        let Some((segment, end)) = sealed else { return Ok(None) };
        let place = FooterLocation {
            sequence: segment.sequence,
            salt: segment.salt,
            block_bytes: self.block_bytes,
            file_bytes: u64::from(segment.file_bytes),
        };
        let found = find(&segment.file, place, end, used);
        let name = || file_name(segment.sequence);
        found.map_err(|e| Error::open("read", &self.location, name(), e))
    }

    /// Fills `out` with the bytes at `at`, unless `overlapping` finds that they are damaged. The caller passes the
    /// `durable` end of the log.
    pub(crate) fn read(
        &self,
        at: Lsn,
        out: &mut [u8],
        durable: Lsn,
        overlapping: DamagedRange,
    ) -> Result<(), Error> {
        let table = self.table.read();
        let damage = overlapping(&table.damaged_ranges, at, out.len());
        let segment = table.get(at.segment());
        drop(table);
        if let Some(damage) = damage {
            return Err(damaged(&self.location, damage));
        }
        let segment = segment.ok_or(Error::NotInLog { lsn: at })?;
        if at.segment() < durable.segment() {
            segment.leave();
        }
        read_range(&segment, &self.location, at, out)
    }

    /// Fills `out` with the bytes at `at`, which must be durable, from the medium.
    pub(crate) fn read_medium(&self, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
        let segment = self.table.read().get(at.segment()).ok_or(Error::NotInLog { lsn: at })?;
        read_range_again(&segment, &self.location, self.block_bytes, at, out)
    }

    /// The error for a read of `len` bytes at `at`, which is at or after the end of the log.
    pub(crate) fn beyond(&self, at: Lsn, len: usize, overlapping: DamagedRange) -> Error {
        let damage = overlapping(&self.table.read().damaged_ranges, at, len);
        damage.map_or(Error::NotInLog { lsn: at }, |damage| damaged(&self.location, damage))
    }

    /// Maps a sealed segment into memory; `None` if it cannot be mapped or was not read often enough.
    pub(crate) fn mapped(&self, segment: u32, durable: Lsn) -> Option<Mapped> {
        let segment = self.table.read().whole(segment, durable)?;
        Mapped::of(segment)
    }

    /// The damaged ranges, ascending.
    pub(crate) fn damaged(&self) -> Vec<Damage> {
        self.table.read().damaged_ranges.list().to_vec()
    }

    /// Hands what is left of the records in `damage` to `each`; returns whether these are all of them.
    pub(crate) fn damaged_records(
        &self,
        damage: &Damage,
        each: &mut dyn FnMut(&RecordRef<'_>, &[u32]),
    ) -> Result<bool, Error> {
        let segment = self.table.read().get(damage.from.segment());
        segment.map_or(Ok(false), |segment| records_within(&segment, &self.location, damage, each))
    }
}
