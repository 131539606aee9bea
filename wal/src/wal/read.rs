//! Reads an open log: records in log order, footers and single ranges.

use super::handle::Wal;
use crate::damage::Damage;
use crate::error::Error;
use crate::format::RecordRef;
use crate::read::damaged_ranges::DamagedRanges;
use crate::read::log_view::DamagedRange;
use crate::read::record_iter::RecordIter;
use crate::segment::footer::Footer;
use crate::segment::open_segment::Mapped;
use crate::types::Lsn;

impl Wal {
    /// The durable records from `from` on, in log order, up to the durable end at the time of the call.
    pub fn records(&self, from: Lsn) -> RecordIter {
        let durable = self.log.durable();
        self.enter_segments(durable);
        self.view.records(from, durable)
    }

    /// As [`Wal::records`], but only those before `to`; reads nothing at or after `to`.
    pub fn records_between(&self, from: Lsn, to: Lsn) -> RecordIter {
        let durable = self.log.durable();
        self.enter_segments(durable);
        self.view.records(from, durable.min(to))
    }

    /// Reads the footer of `segment` from the medium and checks it.
    ///
    /// Returns `None` until the segment is sealed and durable, and if it has no valid footer. Then its records give
    /// the same information, or show what is damaged.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn footer(&self, segment: u32) -> Result<Option<Footer>, Error> {
        self.footer_into(segment, None)
    }

    /// As [`Wal::footer`], reusing the memory of `used`.
    ///
    /// # Errors
    /// As [`Wal::footer`].
    pub fn footer_into(&self, segment: u32, used: Option<Footer>) -> Result<Option<Footer>, Error> {
        let durable = self.log.durable();
        self.enter_segments(durable);
        self.view.footer(segment, durable, used)
    }

    /// Fills `out` with the bytes at `at`, a position that an append or a record returned. Bytes that are not durable
    /// yet are read from memory. The bytes are not checked: compare the part's CRC. If it does not match, the page cache
    /// may hold an older page, and [`Wal::read_medium_at`] decides.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the damaged range that the bytes overlap, see [`Wal::damaged`]; [`Error::NotInLog`],
    /// [`Error::Io`].
    pub fn read_at(&self, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
        self.read(at, out, DamagedRanges::over)
    }

    /// As [`Wal::read_at`], but also reads within damaged ranges, where only the part's CRC can confirm the bytes.
    ///
    /// # Errors
    /// [`Error::NotInLog`], [`Error::Io`].
    pub fn read_damaged_at(&self, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
        self.read(at, out, |_, _, _| None)
    }

    /// As [`Wal::read_damaged_at`], but reads durable bytes from the medium where the file system allows it, and drops
    /// the cached pages that hold them. It is slower. Call it when the CRC of bytes from the other methods, or from a
    /// map, does not match: if it does not match then either, the bytes are damaged (INV-5).
    ///
    /// # Errors
    /// [`Error::NotInLog`], [`Error::Io`].
    pub fn read_medium_at(&self, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
        if at >= self.log.durable() {
            return self.read_damaged_at(at, out);
        }
        self.enter_segments(at);
        self.view.read_medium(at, out)
    }

    fn read(&self, at: Lsn, out: &mut [u8], overlapping: DamagedRange) -> Result<(), Error> {
        let durable = self.log.durable();
        if at >= durable {
            let state = self.log.lock_state();
            if state.read_pending(at, out) {
                return Ok(());
            }
            let beyond = at >= state.watermark();
            drop(state);
            if beyond {
                return Err(self.view.beyond(at, out.len(), overlapping));
            }
        }
        self.enter_segments(at);
        self.view.read(at, out, durable, overlapping)
    }

    /// Maps the file of a sealed segment into memory, so that its bytes need not be copied. Offsets in the map are
    /// those of positions in the segment.
    ///
    /// Returns `None` if the segment is not sealed and durable, is damaged, has not been read often enough yet, or
    /// cannot be mapped; use [`Wal::read_at`] then. The whole file is read once before it is mapped, which takes as
    /// long as reading it. A file that the medium does not deliver is not mapped, and `read_at` returns the error.
    ///
    /// The bytes are not checked, as with `read_at`; if a CRC does not match, [`Wal::read_medium_at`] decides. While the value lives, the file is not reused, and its space is
    /// not freed when the segment is released. If a page is evicted from the page cache and the medium then fails to
    /// deliver it, the process ends (SIGBUS).
    pub fn mapped(&self, segment: u32) -> Option<Mapped> {
        let durable = self.log.durable();
        self.enter_segments(durable);
        self.view.mapped(segment, durable)
    }

    /// Damaged ranges of the log, ascending. Empty unless the log was opened in degraded or salvage mode
    /// ([`Options::mode`](crate::Options::mode)). Reading such a range is [`Error::Corrupt`], which names it. A range
    /// disappears when its segment is released.
    pub fn damaged(&self) -> Vec<Damage> {
        self.view.damaged()
    }

    /// Reads what is left of the records in the damaged range `damage`, one of [`Wal::damaged`]. Hands each record
    /// whose header, `meta` and part table are valid to `each`, in log order, with the numbers of its parts that fail
    /// their checksum.
    ///
    /// Returns whether these are all records of the range. If not, the records handed out say nothing about the rest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn damaged_records(
        &self,
        damage: &Damage,
        each: &mut dyn FnMut(&RecordRef<'_>, &[u32]),
    ) -> Result<bool, Error> {
        self.view.damaged_records(damage, each)
    }
}
