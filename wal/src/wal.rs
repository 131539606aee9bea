//! The log as its users see it: composition of the floors below, and no mechanism of its own.

mod reading;
mod salvage;

use crate::commit::{Blocked, Core, Limits, Log, Sealer, Start, Ticket};
use crate::create;
use crate::directory::{IDENTITY, LOCK, failed, list};
use crate::disk::{Disk, DiskLock, Mode, PosixDisk};
use crate::env::{Env, Threads, open_failed};
use crate::error::Error;
use crate::fence::Fences;
use crate::frame::layout::{FOOTER_TAIL_BYTES, GROUP_HEADER_BYTES, PART_BYTES, RECORD_HEADER_BYTES};
use crate::frame::{Batch, Identity};
use crate::listener::Listener;
use crate::mutant::mutant;
use crate::options::{OpenMode, Options};
use crate::pipeline::{Pipeline, PipelineStart, Progress};
use crate::read::Table;
use crate::recover::{Recovered, Report, recover};
use crate::segment::{Segment, file_name};
use crate::shelf::Shelf;
use crate::stats::Stats;
use crate::sync::{AtomicU32, Mutex, RwLock};
use crate::types::{Class, Lsn, len32};
use crate::verdict::Verdict;
use crate::workers::Workers;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// An open log. All methods may be called from any thread.
///
/// [`Wal::append`] enqueues a record and returns a [`Ticket`]; the record can be read at once and is
/// durable when the ticket says so. Dropping the log without [`Wal::close`] abandons it as a kill would:
/// records that were not acknowledged may be lost, none that were.
#[derive(Debug)]
pub struct Wal {
    log: Arc<Log>,
    table: RwLock<Table>,
    /// Highest segment in the table.
    entered: AtomicU32,
    pipeline: Arc<Mutex<Pipeline>>,
    shelf: Arc<Shelf>,
    env: Env,
    options: Options,
    block_bytes: u32,
    location: String,
    workers: Workers,
}

impl Wal {
    // ---- create, open, close ---------------------------------------------------------------------

    /// Makes a new log in `dir`, which is created (mode 0700) unless it exists and holds no log.
    ///
    /// # Errors
    /// [`Error::AlreadyALog`], [`Error::NotADirectory`], [`Error::Locked`],
    /// [`Error::OptionOutOfRange`], [`Error::Io`].
    pub fn create(dir: impl AsRef<Path>, options: &Options) -> Result<Wal, Error> {
        let dir = dir.as_ref();
        options.check().map_err(Error::OptionOutOfRange)?;
        PosixDisk::create_dir(dir).map_err(|e| open_failed(dir, e))?;
        Wal::create_in(Env::posix(dir, options)?, options)
    }

    /// Opens the log in `dir` and finds its end. What becomes of damage, [`Options::mode`] says.
    ///
    /// # Errors
    /// Those that name who must act: [`Error::NotALog`], [`Error::Locked`],
    /// [`Error::UnsupportedVersion`], [`Error::Corrupt`] with every damaged range, [`Error::Io`].
    /// On refusal nothing was changed.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<(Wal, Report), Error> {
        options.check().map_err(Error::OptionOutOfRange)?;
        Wal::open_in(Env::posix(dir.as_ref(), options)?, options)
    }

    /// As [`Wal::create`], on any disk.
    pub fn create_in(env: Env, options: &Options) -> Result<Wal, Error> {
        options.check().map_err(Error::OptionOutOfRange)?;
        // There is no damage yet, and it is to be written.
        let options = &Options { mode: OpenMode::Strict, ..options.clone() };
        let disk = &*env.disk;
        options.check_blocks(disk.block_size()).map_err(Error::OptionOutOfRange)?;
        // Looked at before the lock is taken too, so that a refusal leaves no LOCK file behind.
        refuse_existing(disk)?;
        let lock = lock(disk)?;
        let identity = create::begin(disk, &*env.random, env.clock.wall_ms())?;
        let shelf = Arc::new(Shelf::default());
        let start = PipelineStart {
            uuid: identity.uuid,
            block_bytes: identity.block_bytes,
            segment_bytes: options.segment_bytes,
            spares: options.spares as usize,
            files: BTreeSet::new(),
            next: 1,
        };
        let mut pipeline =
            Pipeline::new(Arc::clone(&env.disk), Arc::clone(&env.random), Arc::clone(&shelf), start);
        while shelf.ready() < 2 {
            if let Progress::Full(_) = pipeline.step()? {
                return Err(Error::NoSpace { path: disk.location() });
            }
        }
        // The mark comes before the name: a log in which no segment holds a group has lost them.
        let (wal, _) = Wal::start(env, options, lock, Some(identity))?;
        create::finish(&*wal.env.disk)?;
        wal.spawn()
    }

    /// As [`Wal::open`], on any disk.
    pub fn open_in(env: Env, options: &Options) -> Result<(Wal, Report), Error> {
        options.check().map_err(Error::OptionOutOfRange)?;
        let names = list(&*env.disk)?;
        if let Some(found) = names.instead_of_log() {
            return Err(Error::NotALog { path: env.disk.location(), found });
        }
        if options.mode == OpenMode::Salvage {
            return Wal::salvage(env, options);
        }
        let lock = lock(&*env.disk)?;
        let (wal, report) = Wal::start(env, options, lock, None)?;
        Ok((wal.spawn()?, report))
    }

    /// Recovers the log and makes its new start durable; starts no threads.
    fn start(
        env: Env,
        options: &Options,
        lock: Arc<dyn DiskLock>,
        fresh: Option<Identity>,
    ) -> Result<(Wal, Report), Error> {
        let begin = env.clock.now_ns();
        let Recovered { identity, verdict, segments, files, mut report } =
            recover(&*env.disk, &*env.clock, options, env.threads.readers(), fresh)?;
        options.check_blocks(identity.block_bytes).map_err(Error::OptionOutOfRange)?;
        let shelf = Arc::new(Shelf::default());
        let start = PipelineStart {
            uuid: identity.uuid,
            block_bytes: identity.block_bytes,
            segment_bytes: options.segment_bytes,
            spares: options.spares as usize,
            next: files.last().map_or(1, |top| top + 1),
            files: files.iter().copied().collect(),
        };
        let mut pipeline =
            Pipeline::new(Arc::clone(&env.disk), Arc::clone(&env.random), Arc::clone(&shelf), start);
        let mut table = table(&verdict, &segments);
        // A log that starts over says so with its mark; until that is durable its files stay.
        if !verdict.end.is_zero() || mutant("new_start_not_marked_before_removal") {
            shelf.release_below(verdict.first_live);
        }
        let next = verdict.next.at.segment();
        let in_use = segments.get(&next);
        for (_, spare) in segments.range(next + 1..) {
            shelf.put(Arc::clone(spare));
        }
        let segment = match in_use {
            Some(segment) => Arc::clone(segment),
            None => take_first(&mut pipeline, &shelf)?,
        };
        shelf.set_in_use(Arc::clone(&segment));
        table.insert(Arc::clone(&segment), None);
        // A group may be issued only when the next file is durable in the directory.
        fill_shelf(&mut pipeline, &shelf, 1)?;
        let limits = Limits {
            location: env.disk.location(),
            block_bytes: identity.block_bytes,
            segment_bytes: options.segment_bytes / identity.block_bytes * identity.block_bytes,
            group_bytes: options.group_bytes,
            queue_bytes: u64::from(options.queue_bytes),
            in_flight: options.in_flight as usize,
            durable_writes: env.disk.mode() == Mode::Direct,
        };
        let core = Core::new(
            limits,
            Arc::clone(&env.clock),
            Arc::clone(&shelf),
            Start {
                segment,
                offset: verdict.next.at.offset(),
                previous_end: verdict.next.previous_end,
                watermark: verdict.end,
                first_live: verdict.first_live,
                footer_bytes: verdict.next.footer_bytes,
                marked: !verdict.next.mark,
                lock: Some(lock),
            },
        );
        let wal = Wal {
            log: Arc::new(Log::new(core)),
            entered: AtomicU32::new(next),
            table: RwLock::new(table),
            pipeline: Arc::new(Mutex::new(pipeline)),
            shelf,
            block_bytes: identity.block_bytes,
            location: env.disk.location(),
            options: options.clone(),
            env,
            workers: Workers::default(),
        };
        // What open returns is exposed from here on, so a mark that covers it is durable first.
        if !mutant("no_mark_at_open") || fresh.is_some() {
            wal.mark()?;
        }
        report.took.total = Duration::from_nanos(wal.env.clock.now_ns().saturating_sub(begin));
        Ok((wal, report))
    }

    fn spawn(mut self) -> Result<Wal, Error> {
        if self.env.threads == Threads::Stepped {
            return Ok(self);
        }
        self.workers.flush(&self.log, &self.env, &self.options)?;
        self.workers.prepare(&self.log, &self.shelf, &self.pipeline, &self.env)?;
        Ok(self)
    }

    /// Makes everything durable, ends the log with a mark, and unlocks the directory.
    ///
    /// # Errors
    /// The failure that stopped the log, if one did; the directory is unlocked all the same.
    pub fn close(mut self) -> Result<(), Error> {
        let nothing = mutant("close_writes_nothing") || self.options.mode == OpenMode::Salvage;
        let result = if nothing { Ok(()) } else { self.flush().and_then(|_| self.mark()) };
        self.stop();
        result
    }

    fn stop(&mut self) {
        self.log.latch(Error::Closed);
        self.shelf.stop();
        if mutant("unlocked_before_its_threads_end") {
            self.log.core().unlock();
        }
        self.workers.join();
        // Not before: what the pipeline writes, names and removes must not land in another's log.
        self.log.core().unlock();
    }

    // ---- write -----------------------------------------------------------------------------------

    /// Enqueues one record. It is readable when this returns and durable when the ticket says.
    ///
    /// Blocks only for back-pressure: too many bytes not durable yet, or the next segment not ready.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`] and [`Error::NoSpace`] leave no trace; [`Error::Latched`] and
    /// [`Error::Closed`] end the log's use.
    pub fn append(&self, batch: &Batch, class: Class) -> Result<Ticket, Error> {
        let bytes = batch.encoded_len().saturating_add(batch.footer_bytes() as usize);
        let max = self.record_bytes_max();
        if bytes > max {
            return Err(Error::RecordTooLarge { bytes, max });
        }
        let head_crc = batch.head_crc(class);
        loop {
            let version = self.shelf.version();
            match self.log.append(batch, class, head_crc) {
                Ok(ticket) => {
                    self.enter_segments(ticket.lsn());
                    return Ok(ticket);
                }
                Err(Blocked::Failed(error)) => return Err(error),
                Err(Blocked::Queue) => self.log.wait_for_space(),
                Err(Blocked::Pipeline) => self.wait_for_pipeline(version)?,
            }
        }
    }

    /// As [`Wal::append`], for callers that must not wait: no I/O and no sleep.
    ///
    /// # Errors
    /// [`Error::WouldWait`] where `append` would wait, or find the disk full; nothing was enqueued then.
    /// Otherwise as [`Wal::append`].
    pub fn append_now(&self, batch: &Batch, class: Class) -> Result<Ticket, Error> {
        let bytes = batch.encoded_len().saturating_add(batch.footer_bytes() as usize);
        let max = self.record_bytes_max();
        if bytes > max {
            return Err(Error::RecordTooLarge { bytes, max });
        }
        let ticket =
            self.log.append(batch, class, batch.head_crc(class)).map_err(|blocked| match blocked {
                Blocked::Failed(error) => error,
                Blocked::Queue | Blocked::Pipeline => Error::WouldWait,
            })?;
        self.enter_segments(ticket.lsn());
        Ok(ticket)
    }

    /// Largest [`Batch::encoded_len`] plus footer share that a segment of this log can hold, in bytes.
    pub fn record_bytes_max(&self) -> usize {
        // The segment's header, a mark, and what rounding up the group and the footer may cost.
        let blocks = 3 * self.block_bytes;
        let headers = 2 * GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + PART_BYTES + FOOTER_TAIL_BYTES;
        let segment_bytes = self.options.segment_bytes / self.block_bytes * self.block_bytes;
        segment_bytes.saturating_sub(blocks + len32(headers)) as usize
    }

    /// Length of a new segment file, in bytes.
    pub fn segment_bytes(&self) -> u64 {
        u64::from(self.options.segment_bytes / self.block_bytes * self.block_bytes)
    }

    /// Makes everything enqueued so far durable, lazy records included; returns the durable end. Callbacks of
    /// tickets may still be running then.
    pub fn flush(&self) -> Result<Lsn, Error> {
        self.log.flush()
    }

    /// Says that segments below `segment` hold nothing live. Takes effect, and frees their files, once
    /// a later group is durable; does not wait. Never goes back, nor beyond the segment in use.
    pub fn release(&self, segment: u32) -> Result<(), Error> {
        let segment = {
            let core = self.log.core();
            if let Some(failure) = core.failure() {
                return Err(failure.clone());
            }
            segment.min(core.segment().sequence)
        };
        self.enter_segments(Lsn::new(segment, 0));
        // Out of the readers' reach first: once the release is durable the files are used again.
        // In one step, so that no other release can be durable before the shelf knows who may still read.
        let mut table = self.table.write();
        let released = table.release(segment);
        self.shelf.retire(released);
        drop(table);
        self.log.release(segment);
        Ok(())
    }

    /// Installs what makes the footers, and shows it the records of the segment in use. Call it before
    /// the first append.
    pub fn set_sealer(&self, mut sealer: Box<dyn Sealer>) -> Result<(), Error> {
        if self.options.mode == OpenMode::Salvage {
            return Ok(()); // nothing is ever sealed
        }
        let segment = self.active_segment();
        for record in self.records(Lsn::new(segment, 0)) {
            let record = record?;
            sealer.record(record.lsn(), record.meta(), &mut record.parts().map(|(info, _)| info));
        }
        self.log.core().set_sealer(sealer);
        Ok(())
    }

    /// As [`Wal::set_sealer`], of a sealer that was shown the records of the segment in use by whoever read the log
    /// anyway: they are not read again.
    pub fn resume_sealer(&self, sealer: Box<dyn Sealer>) {
        if self.options.mode != OpenMode::Salvage {
            self.log.core().set_sealer(sealer);
        }
    }

    /// Adds a mark unless the log ends in one, and waits for it.
    fn mark(&self) -> Result<(), Error> {
        loop {
            let version = self.shelf.version();
            let mut core = self.log.core();
            if !core.needs_mark() {
                let failure = core.failure().cloned();
                drop(core);
                return failure.map_or(Ok(()), Err);
            }
            let outcome = core.mark();
            drop(core);
            match outcome {
                Ok(_) => {
                    self.flush()?;
                    self.enter_segments(self.log.durable());
                }
                Err(Blocked::Failed(error)) => return Err(error),
                Err(Blocked::Queue) => self.log.wait_for_space(),
                Err(Blocked::Pipeline) => self.wait_for_pipeline(version)?,
            }
        }
    }

    /// Lets the pipeline catch up.
    fn wait_for_pipeline(&self, version: u64) -> Result<(), Error> {
        if self.workers.none() {
            return match self.pipeline.lock().step() {
                Ok(Progress::Full(_)) => Err(Error::NoSpace { path: self.location.clone() }),
                Ok(_) => Ok(()),
                Err(error) => {
                    self.log.latch(error.clone());
                    Err(error)
                }
            };
        }
        self.shelf.sleep(version, Some(Duration::from_millis(100)));
        Ok(())
    }

    /// Tells the readers' table about segments that rotation entered, up to the one of `lsn`.
    fn enter_segments(&self, lsn: Lsn) {
        if self.entered.load(Ordering::Acquire) >= lsn.segment() {
            return;
        }
        let mut table = self.table.write();
        let entered: Vec<_> = self.log.core().entered.drain(..).collect();
        for (previous_end, segment) in &entered {
            table.enter(*previous_end, Arc::clone(segment));
            self.entered.store(segment.sequence, Ordering::Release);
        }
        drop(table);
        for (previous_end, segment) in entered {
            self.shelf.tell(|l| l.segment_sealed(previous_end.segment(), previous_end.offset()));
            self.shelf.tell(|l| l.segment_opened(segment.sequence));
        }
    }

    /// End of the durable prefix.
    pub fn durable(&self) -> Lsn {
        self.log.durable()
    }

    /// Lowest segment that readers can still reach.
    pub fn first_segment(&self) -> u32 {
        self.table.read().first().unwrap_or_else(|| self.active_segment())
    }

    /// The segment that the next record goes to, at the earliest.
    pub fn active_segment(&self) -> u32 {
        self.log.core().segment().sequence
    }

    /// Numbers since open.
    pub fn stats(&self) -> Stats {
        let (spares_zeroed, spares_stale) = self.shelf.ready_by_prior();
        let strategy = match self.env.disk.mode() {
            Mode::Direct => "direct",
            Mode::Buffered => "sync",
        };
        let pipeline_bytes = self.shelf.prepared_bytes();
        let stats = self.log.core().stats();
        let backend = self.workers.backend();
        Stats { spares_zeroed, spares_stale, pipeline_bytes, strategy, backend, ..stats }
    }

    /// Tells `listener` of events from now on; only the first one counts.
    pub fn set_listener(&self, listener: Arc<dyn Listener>) {
        self.shelf.listen(listener);
    }
}

#[cfg(feature = "sim")]
impl Wal {
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn pipeline(&self) -> &Mutex<Pipeline> {
        &self.pipeline
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Refuses a directory that clearly holds a log, without touching it.
fn refuse_existing(disk: &dyn Disk) -> Result<(), Error> {
    let names = list(disk)?;
    let found = match names.segments.first() {
        _ if names.identity => IDENTITY.into(),
        Some(&first) if !names.identity_new => file_name(first),
        _ => return Ok(()),
    };
    Err(Error::AlreadyALog { path: disk.location(), found })
}

fn lock(disk: &dyn Disk) -> Result<Arc<dyn DiskLock>, Error> {
    let holder = format!("process {}\n", std::process::id());
    let lock = disk.lock(LOCK, &holder).map_err(|e| failed(disk, "lock", LOCK, e))?;
    lock.map(Arc::from).map_err(|holder| locked(disk, holder))
}

/// The directory is another's, who wrote `holder`.
fn locked(disk: &dyn Disk, holder: String) -> Error {
    let holder = if holder.is_empty() { "another process".into() } else { holder };
    Error::Locked { path: disk.location(), holder }
}

/// The kept log, for readers.
fn table(verdict: &Verdict, segments: &BTreeMap<u32, Arc<Segment>>) -> Table {
    let mut table = Table::new(Fences::new(verdict.damaged.clone()));
    for kept in &verdict.kept {
        if let Some(segment) = segments.get(&kept.segment) {
            table.insert(Arc::clone(segment), Some(kept.end));
        }
    }
    table
}

/// Prepares spares until `count` are ready.
fn fill_shelf(pipeline: &mut Pipeline, shelf: &Shelf, count: usize) -> Result<(), Error> {
    while shelf.ready() < count {
        if let Progress::Full(_) = pipeline.step()? {
            return Err(shelf.failure().unwrap_or(Error::Closed));
        }
    }
    Ok(())
}

/// The first spare, made if need be.
fn take_first(pipeline: &mut Pipeline, shelf: &Shelf) -> Result<Arc<Segment>, Error> {
    loop {
        fill_shelf(pipeline, shelf, 2)?;
        if let Some(segment) = shelf.take(1) {
            return Ok(segment);
        }
    }
}
