//! Creates, prepares and starts logs.
//!
//! An open has two steps. [`Wal::prepare`] locks, syncs, reads and decides, and writes nothing. [`Prepared::start`]
//! does all the writing: it removes unfinished spares, fills the spare pool, makes a mark durable that covers what
//! was found (INV-3), and starts the threads last.

use super::handle::Wal;
use super::prepared::{Prepared, exclusive};
use crate::commit::{CommitState, Committer, Limits, Start};
use crate::env::{Env, Threads, open_failed};
use crate::error::Error;
use crate::format::Closed;
use crate::options::{OpenMode, Options};
use crate::recovery::RecoveryReport;
use crate::segment::create;
use crate::segment::descriptors::Descriptors;
use crate::segment::directory::{IDENTITY, failed, list};
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::segment::names::file_name;
use crate::segment::open_segment::OpenSegment;
use crate::segment::preallocator::{Preallocator, PreallocatorStart, StepOutcome};
use crate::segment::spare_pool::SparePool;
use crate::sync::{AtomicU32, Mutex};
use crate::wal::threads::LogThreads;
use seawall_disk::{Disk, Mode, PosixDisk, is_no_room};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

impl Wal {
    /// Creates a log in `dir`. The directory is created (mode 0700) if it is missing; its parent must exist.
    ///
    /// # Errors
    /// [`Error::AlreadyALog`], [`Error::NotADirectory`], [`Error::Locked`], [`Error::OptionOutOfRange`],
    /// [`Error::Io`].
    pub fn create(dir: impl AsRef<Path>, options: &Options) -> Result<Wal, Error> {
        let dir = dir.as_ref();
        options.check()?;
        PosixDisk::create_dir(dir).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotADirectory => open_failed(dir, e),
            _ => Error::open("create the directory", dir.display().to_string(), "", e),
        })?;
        Wal::create_in(Env::posix(dir, options)?, options)
    }

    /// Opens the log in `dir` and finds its end. [`Options::mode`] decides how damage is treated.
    ///
    /// # Errors
    /// [`Error::NotALog`], [`Error::Locked`], [`Error::UnsupportedVersion`], [`Error::BlockSize`], [`Error::Corrupt`]
    /// with every damaged range, [`Error::Io`]. A refused log was not changed.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<(Wal, RecoveryReport), Error> {
        options.check()?;
        Wal::open_in(Env::posix(dir.as_ref(), options)?, options)
    }

    /// As [`Wal::create`], on any disk.
    pub fn create_in(env: Env, options: &Options) -> Result<Wal, Error> {
        options.check()?;
        // A new log has no damage, and is created to be written.
        let options = &Options { mode: OpenMode::Strict, ..options.clone() };
        let disk = &*env.disk;
        options.check_blocks(disk.block_size())?;
        // Also checked before the lock is taken, so that a refusal leaves no LOCK file.
        refuse_existing(disk)?;
        let lock = exclusive(disk)?;
        let identity = create::begin(disk, &*env.random, env.clock.wall_ms())?;
        let spare_pool = Arc::new(SparePool::default());
        let start = PreallocatorStart::new(&identity, options, BTreeSet::new());
        let descriptors = Descriptors::new(Arc::clone(&env.disk), options.descriptors_max);
        let mut preallocator =
            Preallocator::new(descriptors, Arc::clone(&env.random), Arc::clone(&spare_pool), start);
        while spare_pool.ready() < 2 {
            if let StepOutcome::Full(_) = preallocator.step()? {
                return Err(spare_pool.failure().unwrap_or(Error::NoSpace { path: disk.location() }));
            }
        }
        // The mark is durable before the log gets its name: a log in which no segment holds a group has lost its
        // groups.
        let (wal, _) = Prepared::find(env, options, Some(lock), Some(identity), None)?.begin(None)?;
        create::finish(&*wal.env.disk)?;
        wal.spawn()
    }

    /// Opens the log in `dir`, or creates it if there is none: if the directory does not exist, is empty, or holds what
    /// an interrupted [`Wal::create`] left. The report is that of the open; `None` for a new log. A directory in which
    /// a file of a log is left never counts as empty.
    ///
    /// # Errors
    /// As [`Wal::open`] and [`Wal::create`].
    pub fn open_or_create(
        dir: impl AsRef<Path>,
        options: &Options,
    ) -> Result<(Wal, Option<RecoveryReport>), Error> {
        match Wal::open(&dir, options) {
            Ok((wal, report)) => Ok((wal, Some(report))),
            Err(error) if error.is_not_found() => Ok((Wal::create(dir, options)?, None)),
            Err(error) => Err(error),
        }
    }

    /// As [`Wal::open`], on any disk.
    pub fn open_in(env: Env, options: &Options) -> Result<(Wal, RecoveryReport), Error> {
        Wal::prepare(env, options, None)?.start(None)
    }

    /// As [`Wal::open_in`], and installs the builder of footers. It receives the records of the segment in use, during
    /// the scan if possible; in read-only mode it receives none.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn open_with(
        env: Env,
        options: &Options,
        mut index_builder: Box<dyn SegmentIndexBuilder>,
    ) -> Result<(Wal, RecoveryReport), Error> {
        let prepared = Wal::prepare(env, options, Some(&mut *index_builder))?;
        prepared.start(Some(index_builder))
    }

    /// The first half of an open: locks the directory, makes its files durable, reads the log and decides. Whatever
    /// the outcome, no byte and no name changes except those of the lock file. Dropping the result unlocks the
    /// directory.
    ///
    /// Shows `index_builder` the records of the segment in use, unless the log is opened for reading.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn prepare(
        env: Env,
        options: &Options,
        index_builder: Option<&mut (dyn SegmentIndexBuilder + 'static)>,
    ) -> Result<Prepared, Error> {
        options.check()?;
        let names = list(&*env.disk)?;
        if let Some(found) = names.instead_of_log() {
            return Err(Error::NotALog { path: env.disk.location(), found });
        }
        Prepared::lock(env, options, index_builder)
    }

    fn spawn(mut self) -> Result<Wal, Error> {
        if self.env.threads == Threads::Stepped {
            return Ok(self);
        }
        self.workers.flush(&self.log, &self.env, &self.options)?;
        self.workers.prepare(&self.log, &self.spare_pool, &self.preallocator, &self.env)?;
        Ok(self)
    }
}

impl Prepared {
    /// The second half of an open, which writes: removes unfinished spares, prepares the missing ones, covers the end
    /// of the log with a durable mark (INV-3), and starts the threads. A log that was prepared in
    /// [`OpenMode::Salvage`] accepts no writes, so none of this is done for it.
    ///
    /// `index_builder` builds the footers. It must be the one to which [`Wal::prepare`] showed the records.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`]. The directory is then unlocked, and the log can be opened again.
    pub fn start(
        self,
        index_builder: Option<Box<dyn SegmentIndexBuilder>>,
    ) -> Result<(Wal, RecoveryReport), Error> {
        if !self.writable() {
            return self.for_reading();
        }
        let (wal, report) = self.begin(index_builder)?;
        Ok((wal.spawn()?, report))
    }

    /// Makes the new start of the log durable; starts no threads.
    fn begin(
        mut self,
        index_builder: Option<Box<dyn SegmentIndexBuilder>>,
    ) -> Result<(Wal, RecoveryReport), Error> {
        for name in std::mem::take(&mut self.unfinished) {
            let disk = &*self.env.disk;
            disk.remove(&name).map_err(|e| failed(disk, "remove", &name, e))?;
            self.report.removed.push(name);
        }
        let begin_ns = self.begin_ns;
        let Prepared {
            env,
            options,
            descriptors,
            lock,
            identity,
            verdict,
            open,
            files,
            view,
            mut report,
            ..
        } = self;
        let spare_pool = Arc::new(SparePool::default());
        let start = PreallocatorStart::new(&identity, &options, files.into_iter().collect());
        let mut preallocator = Preallocator::new(
            Arc::clone(&descriptors),
            Arc::clone(&env.random),
            Arc::clone(&spare_pool),
            start,
        );
        // The mark of a log that starts over releases its old files; until that mark is durable they stay.
        if !verdict.end.is_zero() {
            spare_pool.release_below(verdict.first_live);
        }
        let next = verdict.next.at.segment();
        let in_use = open.get(&next);
        for (_, spare) in open.range(next + 1..) {
            spare_pool.put(spare.clone());
        }
        let segment = match in_use {
            Some(segment) => segment.clone(),
            None => take_first(&mut preallocator, &spare_pool)?,
        };
        spare_pool.set_in_use(segment.clone());
        view.table.write().insert(Arc::clone(&segment.segment), None);
        // A group may be issued only once the name of the next file is durable in the directory.
        fill_spare_pool(&mut preallocator, &spare_pool, 1)?;
        let limits = Limits {
            location: env.disk.location(),
            block_bytes: identity.block_bytes,
            segment_bytes: options.segment_bytes / identity.block_bytes * identity.block_bytes,
            group_bytes: options.group_bytes,
            queue_bytes: u64::from(options.queue_bytes),
            in_flight: options.writes_in_flight_max as usize,
            yield_max_ns: u64::from(options.yield_max_us) * 1000,
            callbacks_max: options.callbacks_max,
            spawned: env.threads == Threads::Spawned,
            durable_writes: env.disk.mode() == Mode::Direct,
        };
        let state = CommitState::new(
            limits,
            Arc::clone(&env.clock),
            Arc::clone(&spare_pool),
            Start {
                segment,
                offset: verdict.next.at.offset(),
                previous_end: verdict.next.previous_end,
                watermark: verdict.end,
                first_live: verdict.first_live,
                footer_bytes: verdict.next.footer_bytes,
                marked: !verdict.next.mark,
                lock,
            },
        );
        let wal = Wal {
            log: Arc::new(Committer::new(state)),
            entered: AtomicU32::new(next),
            view,
            preallocator: Arc::new(Mutex::new(preallocator)),
            spare_pool,
            descriptors,
            options,
            env,
            workers: LogThreads::default(),
            closed: Closed { uuid: identity.uuid, end: report.witness.durable() },
        };
        if let Some(index_builder) = index_builder {
            wal.log.lock_state().set_index_builder(index_builder);
        }
        // From here on callers see what open found, so a mark that covers it is made durable first (INV-3).
        wal.mark().map_err(|e| no_room(&wal.env, e))?;
        report.took.total = Duration::from_nanos(wal.env.clock.now_ns().saturating_sub(begin_ns));
        Ok((wal, report))
    }
}

/// Refuses a directory that clearly holds a log, without changing it.
fn refuse_existing(disk: &dyn Disk) -> Result<(), Error> {
    let names = list(disk)?;
    let found = match names.segments.first() {
        _ if names.identity => IDENTITY.into(),
        Some(&first) if !names.identity_new => file_name(first),
        _ => return Ok(()),
    };
    Err(Error::AlreadyALog { path: disk.location(), found })
}

/// Maps a mark that found no room to [`Error::NoSpace`], where rewritten blocks take new space: the log did not
/// change.
fn no_room(env: &Env, error: Error) -> Error {
    let cause = match &error {
        Error::Latched { cause } => cause,
        other => other,
    };
    match cause {
        Error::Io { source, .. } if is_no_room(source) => Error::NoSpace { path: env.disk.location() },
        _ => error,
    }
}

/// Prepares spares until `count` are ready.
fn fill_spare_pool(
    preallocator: &mut Preallocator,
    spare_pool: &SparePool,
    count: usize,
) -> Result<(), Error> {
    while spare_pool.ready() < count {
        if let StepOutcome::Full(_) = preallocator.step()? {
            return Err(spare_pool.failure().unwrap_or(Error::Closed));
        }
    }
    Ok(())
}

/// Takes the first spare, and prepares one if there is none.
fn take_first(preallocator: &mut Preallocator, spare_pool: &SparePool) -> Result<OpenSegment, Error> {
    loop {
        fill_spare_pool(preallocator, spare_pool, 2)?;
        if let Some(segment) = spare_pool.take(1) {
            return Ok(segment);
        }
    }
}
