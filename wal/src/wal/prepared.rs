//! A log that recovery has accepted and to which nothing has been written yet.
//!
//! [`Wal::prepare`](crate::Wal::prepare) returns it, and [`Prepared::start`] turns it into an open log. In between
//! its user can read the whole log and refuse it: until the start, no byte and no name in the directory has changed,
//! except for the lock file.

use crate::damage::Damage;
use crate::env::Env;
use crate::error::Error;
use crate::format::{Identity, RecordRef};
use crate::options::{OpenMode, Options};
use crate::read::damaged_ranges::DamagedRanges;
use crate::read::log_view::LogView;
use crate::read::record_iter::RecordIter;
use crate::read::segment_table::SegmentTable;
use crate::recovery::scan_log::SegmentFiles;
use crate::recovery::verdict::Verdict;
use crate::recovery::{Recovered, RecoveryReport, recover};
use crate::segment::descriptors::Descriptors;
use crate::segment::directory::{LOCK, failed, failed_to_open};
use crate::segment::footer::Footer;
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::segment::open_segment::{OpenSegment, Segment};
use crate::types::Lsn;
use seawall_disk::{Access, Disk, DiskLock};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A log that [`Wal::prepare`](crate::Wal::prepare) has locked, synced, read and accepted. It can be read, and
/// nothing was written to it.
///
/// Dropping it unlocks the directory and leaves the log as it was found. Do not let its contents leave the process
/// before [`Prepared::start`]: only that call writes the mark without which one damaged block can lose the end of the
/// log (INV-3).
pub struct Prepared {
    pub(super) env: Env,
    pub(super) options: Options,
    /// `None` if the log is opened for reading and cannot be locked.
    pub(super) lock: Option<Arc<dyn DiskLock>>,
    pub(super) identity: Identity,
    pub(super) verdict: Verdict,
    pub(super) descriptors: Arc<Descriptors>,
    /// The segments from the first live one on.
    pub(super) segments: BTreeMap<u32, Arc<Segment>>,
    /// Those of them that will be written.
    pub(super) open: BTreeMap<u32, OpenSegment>,
    /// Numbers of all segment files.
    pub(super) files: Vec<u32>,
    pub(super) unfinished: Vec<String>,
    pub(super) view: LogView,
    pub(super) report: RecoveryReport,
    pub(super) begin_ns: u64,
}

impl Prepared {
    /// Takes the lock that the mode needs, and recovers the log of `env`.
    pub(super) fn lock(
        env: Env,
        options: &Options,
        index_builder: Option<&mut (dyn SegmentIndexBuilder + 'static)>,
    ) -> Result<Prepared, Error> {
        let disk = &*env.disk;
        let lock = if options.mode == OpenMode::Salvage {
            // Where no lock can be had the log is read without one: a copy, or a directory that cannot be written.
            let lock = disk.lock_for_reading(LOCK).map_err(|e| failed(disk, "lock", LOCK, e))?;
            lock.map_err(|holder| locked(disk, holder))?.map(Arc::from)
        } else {
            Some(exclusive(disk)?)
        };
        Prepared::find(env, options, lock, None, index_builder)
    }

    /// As [`Prepared::lock`], with the lock taken. `fresh` is the identity of a log that is being created.
    pub(super) fn find(
        env: Env,
        options: &Options,
        lock: Option<Arc<dyn DiskLock>>,
        fresh: Option<Identity>,
        mut index_builder: Option<&mut (dyn SegmentIndexBuilder + 'static)>,
    ) -> Result<Prepared, Error> {
        let begin_ns = env.clock.now_ns();
        let readers = env.threads.readers();
        let descriptors = Descriptors::new(Arc::clone(&env.disk), options.descriptors_max);
        let Recovered { identity, verdict, segments, open, files, unfinished, shown, mut report } =
            recover(&descriptors, &*env.clock, options, readers, fresh, index_builder.as_deref_mut())?;
        options.check_blocks(identity.block_bytes)?;
        report.locked = lock.is_some();
        let view = LogView::new(table(&verdict, &segments), env.disk.location(), identity.block_bytes);
        let (options, from) = (options.clone(), verdict.next.at.segment());
        let mut prepared = Prepared {
            env,
            options,
            lock,
            identity,
            verdict,
            descriptors,
            segments,
            open,
            files,
            unfinished,
            view,
            report,
            begin_ns,
        };
        if let Some(index_builder) = index_builder.filter(|_| !shown && prepared.writable()) {
            for record in prepared.records_between(Lsn::new(from, 0), prepared.end()) {
                let record = record?;
                index_builder.record(record.lsn(), record.meta(), &mut record.parts().map(|(info, _)| info));
            }
        }
        prepared.report.took.total = prepared.since_begin();
        Ok(prepared)
    }

    pub(super) fn writable(&self) -> bool {
        self.options.mode != OpenMode::Salvage
    }

    /// Time since the open began.
    pub(super) fn since_begin(&self) -> Duration {
        Duration::from_nanos(self.env.clock.now_ns().saturating_sub(self.begin_ns))
    }

    /// The report of the open so far: `removed` is empty, and `took.total` ends with the verdict. [`Prepared::start`]
    /// returns the complete report.
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// End of the kept log; zero if it is empty.
    pub fn end(&self) -> Lsn {
        self.verdict.end
    }

    /// Number of the lowest segment that holds records, or of the one in which the log continues if none does.
    pub fn first_segment(&self) -> u32 {
        self.view.table.read().first().unwrap_or_else(|| self.active_segment())
    }

    /// Number of the segment in which the log continues.
    pub fn active_segment(&self) -> u32 {
        self.verdict.next.at.segment()
    }

    /// As [`Wal::records`](crate::Wal::records).
    pub fn records(&self, from: Lsn) -> RecordIter {
        self.view.records(from, self.end())
    }

    /// As [`Wal::records_between`](crate::Wal::records_between).
    pub fn records_between(&self, from: Lsn, to: Lsn) -> RecordIter {
        self.view.records(from, self.end().min(to))
    }

    /// As [`Wal::footer`](crate::Wal::footer).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn footer(&self, segment: u32) -> Result<Option<Footer>, Error> {
        self.footer_into(segment, None)
    }

    /// As [`Wal::footer_into`](crate::Wal::footer_into).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn footer_into(&self, segment: u32, used: Option<Footer>) -> Result<Option<Footer>, Error> {
        self.view.footer(segment, self.end(), used)
    }

    /// As [`Wal::read_at`](crate::Wal::read_at).
    ///
    /// # Errors
    /// As [`Wal::read_at`](crate::Wal::read_at).
    pub fn read_at(&self, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
        if at >= self.end() {
            return Err(self.view.beyond(at, out.len(), DamagedRanges::over));
        }
        self.view.read(at, out, self.end(), DamagedRanges::over)
    }

    /// As [`Wal::read_medium_at`](crate::Wal::read_medium_at).
    ///
    /// # Errors
    /// As [`Wal::read_medium_at`](crate::Wal::read_medium_at).
    pub fn read_medium_at(&self, at: Lsn, out: &mut [u8]) -> Result<(), Error> {
        if at >= self.end() {
            return Err(Error::NotInLog { lsn: at });
        }
        self.view.read_medium(at, out)
    }

    /// As [`Wal::damaged`](crate::Wal::damaged).
    pub fn damaged(&self) -> Vec<Damage> {
        self.view.damaged()
    }

    /// As [`Wal::damaged_records`](crate::Wal::damaged_records).
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

    /// Reads every block of the log and returns every damaged range, ascending: those in `found`, which a reader met
    /// in a segment that open accepted by its footer, and all others.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn every_damage(&self, found: &[Damage]) -> Result<Vec<Damage>, Error> {
        let mut damage = found.to_vec();
        let numbers: Vec<u32> = self.segments.keys().copied().collect();
        let files = SegmentFiles {
            disk: &*self.env.disk,
            identity: &self.identity,
            numbers: &numbers,
            access: if self.writable() { Access::Write } else { Access::Read },
            unopened: Vec::new(),
            closed: self.report.witness.durable(),
            mode: OpenMode::Strict,
            threads: self.env.threads.readers(),
        };
        let ((_, verdict), _) = files.survey_all(self.options.unexplained_tail, &|_| (), &|(), _| {})?;
        damage.extend(verdict.err().into_iter().flatten());
        damage.sort_unstable_by_key(|place| (place.from, std::cmp::Reverse(place.to)));
        let mut end = Lsn::ZERO;
        damage.retain(|place| {
            let within = place.to <= end;
            end = end.max(place.to);
            !within
        });
        Ok(damage)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Locks the directory for this process alone.
pub(super) fn exclusive(disk: &dyn Disk) -> Result<Arc<dyn DiskLock>, Error> {
    let holder = format!("process {}\n", std::process::id());
    let lock = disk.lock(LOCK, &holder).map_err(|e| failed_to_open(disk, "lock", LOCK, e))?;
    lock.map(Arc::from).map_err(|holder| locked(disk, holder))
}

/// The readers' table of the kept log.
fn table(verdict: &Verdict, segments: &BTreeMap<u32, Arc<Segment>>) -> SegmentTable {
    let mut table = SegmentTable::new(DamagedRanges::new(verdict.damaged.clone()));
    for kept in &verdict.kept {
        if let Some(segment) = segments.get(&kept.segment) {
            table.insert(Arc::clone(segment), Some(kept.end));
        }
    }
    table
}

/// The error for a directory that another process has locked, which wrote `holder` to the lock file.
fn locked(disk: &dyn Disk, holder: String) -> Error {
    let holder = if holder.is_empty() { "another process".into() } else { holder };
    Error::Locked { path: disk.location(), holder }
}
