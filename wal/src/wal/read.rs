//! Reading an open log: records in log order, footers, and single ranges. Composition only, like its parent.

use super::Wal;
use crate::damage::Damage;
use crate::error::Error;
use crate::format::RecordRef;
use crate::read::damaged_ranges::DamagedRanges;
use crate::read::log_view::DamagedRange;
use crate::read::record_iter::RecordIter;
use crate::segment::footer::Footer;
use crate::segment::mapped::Mapped;
use crate::types::Lsn;

impl Wal {
    /// The durable records from `from` on, in log order; those that become durable later are not seen.
    pub fn records(&self, from: Lsn) -> RecordIter {
        let durable = self.log.durable();
        self.enter_segments(durable);
        self.view.records(from, durable)
    }

    /// As [`Wal::records`], but those before `to` alone; nothing at or behind it is read.
    pub fn records_between(&self, from: Lsn, to: Lsn) -> RecordIter {
        let durable = self.log.durable();
        self.enter_segments(durable);
        self.view.records(from, durable.min(to))
    }

    /// The footer of `segment`, read from the medium and checked. `None` while the segment is not sealed and
    /// durable; and if it has no footer, or none that checks: then its records say the same, or say what
    /// is damaged.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn footer(&self, segment: u32) -> Result<Option<Footer>, Error> {
        self.footer_into(segment, None)
    }

    /// As [`Wal::footer`], in the memory of one that is not used any more.
    ///
    /// # Errors
    /// As [`Wal::footer`].
    pub fn footer_into(&self, segment: u32, used: Option<Footer>) -> Result<Option<Footer>, Error> {
        let durable = self.log.durable();
        self.enter_segments(durable);
        self.view.footer(segment, durable, used)
    }

    /// Fills `out` with the bytes at `at`, which an append or a record named; from memory if they are not
    /// durable yet. Unchecked: compare the part's CRC.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the fenced place that the bytes touch, see [`Wal::damaged`];
    /// [`Error::NotInLog`], [`Error::Io`].
    pub fn read_at(&self, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
        self.read(at, out, DamagedRanges::over)
    }

    /// As [`Wal::read_at`], also within damaged places, of which nothing but the part's CRC vouches for a
    /// byte.
    pub fn read_damaged_at(&self, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
        self.read(at, out, |_, _, _| None)
    }

    fn read(&self, at: Lsn, out: &mut [u8], fence: DamagedRange) -> Result<(), Error> {
        let durable = self.log.durable();
        if at >= durable {
            let core = self.log.lock_state();
            if core.read_pending(at, out) {
                return Ok(());
            }
            let beyond = at >= core.watermark();
            drop(core);
            if beyond {
                return Err(self.view.beyond(at, out.len(), fence));
            }
        }
        self.enter_segments(at);
        self.view.read(at, out, durable, fence)
    }

    /// The file of a sealed segment as memory, so that its bytes need not be copied: offsets are those that
    /// positions have. `None`, and [`Wal::read_at`] serves: if the segment is not sealed and durable, is damaged,
    /// has not been read from often yet, or cannot be mapped. Before a file is mapped all of it is read once, so one
    /// that the medium does not deliver is left to `read_at`, which says so; that takes as long as reading it.
    ///
    /// Unchecked, as `read_at`. While the value lives the file is not used again, and its space is not free when
    /// the segment is released. A page that leaves the cache and that the medium then fails to deliver
    /// ends the process (SIGBUS).
    pub fn mapped(&self, segment: u32) -> Option<Mapped> {
        let durable = self.log.durable();
        self.enter_segments(durable);
        self.view.mapped(segment, durable)
    }

    /// Damaged places of the log, ascending; empty unless [`Options::mode`](crate::Options::mode) had it opened in spite of them.
    /// Reading them is [`Error::Corrupt`], which names the place. A place is gone when its segment is released.
    pub fn damaged(&self) -> Vec<Damage> {
        self.view.damaged()
    }

    /// Hands what is left of the records of the damaged place `damage`, one of [`Wal::damaged`], to `each`: those
    /// whose header, `meta` and part table check, in log order, with the numbers of their parts that do not.
    /// Returns whether that accounts for every record of the place. If it does not, what was handed out says
    /// nothing about the rest.
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
