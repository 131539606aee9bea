//! The engine: many Raft groups on one log. Composes the modules below.
//!
//! A write proceeds in this order: the record is enqueued in the log, its entries are published in the index, the
//! record is written, it becomes durable, its ticket completes. All methods may be called from any thread. After the
//! log's first failed write or sync, every call that writes fails (INV-7).

pub(crate) mod handles;
pub(crate) mod owner_check;
#[cfg(feature = "snapshots")]
pub(crate) mod spawn;

mod group;
mod reader;
mod upkeep;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use seawall_wal::{Env, Lsn, OpenMode, Threads, Ticket, Wal};

use crate::compression::{CompressionStats, Compressor};
use crate::error::{Error, Result};
use crate::group::{FooterIndexBuilder, GroupState, Groups, SegmentUsage};
use crate::listener::Listener;
use crate::options::Options;
use crate::owner::OWNER_GROUP;
use crate::read::entry_cache::{CacheStats, EntryCache};
use crate::reclaim::release::{PrefixRelease, ReemitStats};
use crate::reclaim::rewrite::{Rewrite, RewriteStats};
use crate::reclaim::throttle::Throttle;
use crate::recovery::{self, DamagedRecords, Findings, Restored};
use crate::threads::background::BackgroundThread;
#[cfg(feature = "snapshots")]
use crate::threads::task_pool::TaskPool;
use crate::types::{DamagedEntry, GroupId, Location};
use crate::write::{self, Wait, WriteBatch};
pub use group::Group;
use handles::{InsideCall, UserHandle};
pub use reader::{PinnedReader, ReaderStats};

/// Upper bound for the bytes that a record with one entry and one hard state needs in addition to the payload,
/// including its share of the footer. The real need is about 350 bytes.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// Many Raft groups on one durable log. Cloning returns another handle of the same engine. A [`Group`] and a
/// [`PinnedReader`] are handles too.
///
/// Dropping the last handle without [`Engine::close`] is like a kill: writes that were not acknowledged may be lost.
/// The drop waits until the engine's threads have finished the work under way. When it returns, the directory is
/// unlocked and can be opened again.
#[derive(Clone)]
pub struct Engine(Arc<UserHandle>);

struct EngineInner {
    /// `None` once the engine is closed. Closing waits for the calls under way.
    wal: RwLock<Option<Wal>>,
    /// The groups in memory.
    groups: Groups,
    /// What each segment still holds.
    pins: SegmentUsage,
    /// The newest payloads.
    tail: EntryCache,
    /// Compresses payloads in writes and decompresses them in reads.
    packer: Compressor,
    /// [`Options::map_sealed`].
    map_sealed: bool,
    /// The pinned readers.
    readers: reader::Readers,
    /// Releases the oldest segments, after copying small state out of them.
    sweep: PrefixRelease,
    /// Entries that were found damaged at open, including those that were overwritten or compacted since then.
    fenced: DamagedRecords,
    /// Copies live entries out of the oldest segment.
    rewrite: Rewrite,
    /// Builds the index of the segment being written. The log calls it for each record.
    sealer: FooterIndexBuilder,
    /// The background thread. Unset in a stepped engine, where each write does a piece of the background work itself.
    keeper: OnceLock<BackgroundThread>,
    /// The segment that was being written when the background thread was last woken.
    seen: AtomicU32,
    /// A write found the disk full, and no record with a payload has been written since.
    full: AtomicBool,
    /// The listener of the user, if one was set.
    listener: OnceLock<Arc<dyn Listener>>,
    /// Computes the pauses of the background thread.
    pace: Mutex<Throttle>,
    /// Serializes calls of [`Engine::set_owner`].
    whose: Mutex<()>,
    /// Runs reads that a raft-rs core must not wait for. One thread; none in a stepped engine.
    #[cfg(feature = "raft-rs")]
    errands: TaskPool,
    /// Takes snapshots, on up to [`Options::snapshot_threads`] threads.
    #[cfg(feature = "snapshots")]
    snapshots: TaskPool,
    /// Whether the right to make the openraft logs of this engine is taken.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    openraft: AtomicBool,
    options: Options,
}

/// Result of opening an engine.
#[derive(Debug)]
pub struct Report {
    /// Report of the log: records kept, records dropped and why, durations.
    pub log: seawall_wal::RecoveryReport,
    /// Number of records in the log, including those that were replayed from the index of their segment:
    /// `log.by_footer` lists the segments of which only the index was read.
    pub records: u64,
    /// Number of groups that exist.
    pub groups: u64,
    /// Number of live entries of all groups.
    pub entries: u64,
}

/// Statistics of a running engine.
#[derive(Debug)]
pub struct Stats {
    /// Statistics of the log.
    pub log: seawall_wal::Stats,
    /// Number of groups that exist.
    pub groups: usize,
    /// Number of live entries of all groups.
    pub entries: u64,
    /// Lowest segment that is kept, and the segment that is being written.
    pub segments: (u32, u32),
    /// What keeps the oldest segment from being released; `None` if no segment but the one being written has to be
    /// kept.
    pub blocker: Option<Blocker>,
    /// Pinned readers, in the order in which they were made.
    pub readers: Vec<ReaderStats>,
    /// Hits and misses of the entry cache.
    pub cache: CacheStats,
    /// Entries that were copied out of old segments.
    pub rewrite: RewriteStats,
    /// Small state that was written again so that old segments could be released.
    pub restate: ReemitStats,
    /// Results of compression.
    pub compression: CompressionStats,
}

/// Describes what keeps the oldest segments of the log from being released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocker {
    /// The lowest segment that has to be kept.
    pub segment: u32,
    /// Bytes of the segments from that one up to, but not including, the one being written: they are kept with it.
    pub held_bytes: u64,
    /// Number of live entries in that segment.
    pub entries: u64,
    /// Approximate bytes that these entries take.
    pub live_bytes: u64,
    /// Number of pieces of small state in that segment that are the latest of their group: hard states, conf states,
    /// compaction points, snapshot markers, metadata values.
    pub states: u64,
    /// What keeps the segment.
    pub by: BlockedBy,
}

/// What keeps a segment. If there are several reasons, the one that lasts longest: entries, then small state, then a
/// call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BlockedBy {
    /// A live entry: the first one of the group with the lowest number. It keeps the segment until it is compacted,
    /// overwritten or copied to the end of the log. An entry that [`RewriteStats::stuck`] names cannot be copied.
    Entry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
    },
    /// The latest small state of a group. The engine writes it again at the end of the log in the background.
    State {
        /// The group; if there are several, the one with the lowest number.
        group: GroupId,
    },
    /// A read or a write under way. A pinned reader does not count: it keeps files, but never the prefix of the log.
    Call,
}

impl Engine {
    /// Creates an engine in `dir`, which must not contain one.
    ///
    /// # Errors
    /// [`Error::Option`], [`Error::OwnerTooLarge`], [`Error::Thread`], or the error of the log.
    pub fn create(dir: impl AsRef<Path>, options: &Options) -> Result<Engine> {
        options.check()?;
        Engine::fresh(Wal::create(dir, &options.log)?, Threads::Spawned, options)
    }

    /// Opens the engine in `dir`. Everything that it then shows is durable (INV-3).
    ///
    /// # Errors
    /// - `Corrupt` of the log, with every damaged range (INV-5).
    /// - [`Error::Lost`], in degraded and salvage mode, if more than payloads of entries is damaged.
    /// - [`Error::CommitBeyondLog`], [`Error::Damage`] and [`Error::Record`], if acknowledged data is missing or
    ///   cannot be decoded.
    /// - [`Error::OtherOwner`], if the log does not belong to [`Options::owner`]; [`Error::OwnerUnreadable`], if a
    ///   later version wrote its owner.
    ///
    /// If one of these is returned, nothing in the directory has changed except the lock file. Otherwise
    /// [`Error::Option`], [`Error::OwnerTooLarge`], [`Error::Thread`], or another error of the log.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<(Engine, Report)> {
        options.check()?;
        Engine::open_in(Env::posix(dir.as_ref(), &options.log)?, options)
    }

    /// As [`Engine::create`], with the disk, clock, random source and threads given by `env`.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn create_in(env: Env, options: &Options) -> Result<Engine> {
        options.check()?;
        let threads = env.threads;
        Engine::fresh(Wal::create_in(env, &options.log)?, threads, options)
    }

    /// As [`Engine::open`], with the disk, clock, random source and threads given by `env`.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_in(env: Env, options: &Options) -> Result<(Engine, Report)> {
        options.check()?;
        let threads = env.threads;
        let sealer = FooterIndexBuilder::default();
        let prepared = Wal::prepare(env, &options.log, Some(&mut sealer.clone()))?;
        let restored = recovery::open(&prepared, threads, &sealer)?;
        if let Some(owner) = &options.owner {
            owner_check::compare(&restored.groups, owner)?;
        }
        let Findings { records, groups, entries } = restored.found;
        let groups = groups - u64::from(restored.groups.get(OWNER_GROUP).is_some());
        // Nothing has been written so far, so a refused log is left as it was found.
        let (wal, log) = prepared.start(Some(Box::new(sealer.clone())))?;
        let engine = Engine::start(wal, threads, restored, sealer, options)?;
        if let Some(owner) = options.owner.as_ref().filter(|_| log.mode != OpenMode::Salvage) {
            engine.set_owner(owner)?;
        }
        Ok((engine, Report { log, records, groups, entries }))
    }

    fn fresh(wal: Wal, threads: Threads, options: &Options) -> Result<Engine> {
        let sealer = FooterIndexBuilder::default();
        wal.set_index_builder(Box::new(sealer.clone()))?;
        let engine = Engine::start(wal, threads, Restored::default(), sealer, options)?;
        if let Some(owner) = &options.owner {
            engine.set_owner(owner)?;
        }
        Ok(engine)
    }

    fn start(
        wal: Wal,
        threads: Threads,
        restored: Restored,
        sealer: FooterIndexBuilder,
        options: &Options,
    ) -> Result<Engine> {
        let Restored { groups, pins, fenced, .. } = restored;
        let core = Arc::new(EngineInner {
            wal: RwLock::new(Some(wal)),
            groups,
            pins,
            tail: EntryCache::new(options.cache_bytes),
            packer: Compressor::new(options.compression),
            map_sealed: options.map_sealed,
            readers: reader::Readers::default(),
            sweep: PrefixRelease::default(),
            fenced,
            rewrite: Rewrite::default(),
            sealer,
            keeper: OnceLock::new(),
            seen: AtomicU32::new(0),
            full: AtomicBool::new(false),
            listener: OnceLock::new(),
            pace: Mutex::new(Throttle::new()),
            whose: Mutex::new(()),
            #[cfg(feature = "raft-rs")]
            errands: TaskPool::new("seawall-errands", usize::from(threads == Threads::Spawned)),
            #[cfg(feature = "snapshots")]
            snapshots: TaskPool::new("seawall-snap", options.snapshot_threads),
            #[cfg(any(feature = "openraft", feature = "openraft-09"))]
            openraft: AtomicBool::new(false),
            options: options.clone(),
        });
        let engine = Engine(UserHandle::of_users(Arc::clone(&core)));
        if threads == Threads::Spawned {
            let keeper = BackgroundThread::spawn(move || core.keep());
            let keeper = keeper.map_err(|source| Error::Thread { source: Arc::new(source) })?;
            // Background work may have been due before the engine was opened.
            keeper.wake();
            let _ = engine.0.keeper.set(keeper);
        }
        Ok(engine)
    }

    /// Returns a handle of group `id`, whether the group exists or not.
    pub fn group(&self, id: GroupId) -> Group {
        Group { core: Arc::clone(&self.0), id }
    }

    /// Returns the numbers of the groups that exist, ascending.
    ///
    /// To the engine, every number is an ordinary group. The openraft adapters keep the vote and the purged log id of
    /// group *n* in a separate group with the number *n* + 2^63 ([`GroupId`]), which is in this list too.
    pub fn groups(&self) -> Vec<GroupId> {
        self.0.users_groups()
    }

    /// Acquires the right to make the openraft logs of this engine; `false` if it is already taken.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    pub(crate) fn take_openraft(&self) -> bool {
        !self.0.openraft.swap(true, Ordering::AcqRel)
    }

    /// Returns that right.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    pub(crate) fn return_openraft(&self) {
        self.0.openraft.store(false, Ordering::Release);
    }

    /// Returns the entries whose payloads are damaged, sorted by group and index. Their indexes and terms are
    /// correct; reading one fails with [`Error::DamagedEntry`]. Always empty in strict mode. An entry leaves the list
    /// when it is overwritten or compacted.
    ///
    /// Until the list is empty for a group, the node lacks data that it has acknowledged: see *Open modes* in
    /// `docs/durability.md`.
    pub fn damaged(&self) -> Vec<DamagedEntry> {
        let still = |(entry, at): &&(DamagedEntry, Location)| {
            let cell = self.0.groups.get(entry.group);
            let now = cell.and_then(|cell| cell.read().location(entry.index));
            now.is_some_and(|now| (now.segment, now.offset) == (at.segment, at.offset))
        };
        let mut damaged: Vec<_> = self.0.fenced.iter().filter(still).map(|(entry, _)| *entry).collect();
        damaged.sort_unstable();
        damaged
    }

    /// Writes `batch` as one record. Its entries are readable when this returns and durable when the ticket completes
    /// (INV-1, INV-2). Waits only for other batches of the same groups, for room in the log's queue, and while too
    /// many callbacks are outstanding ([`seawall_wal::Options::callbacks_max`]).
    ///
    /// May be called from a callback ([`Ticket::on_durable`]); there it does not wait for other callbacks.
    ///
    /// On success the batch is empty and keeps its buffers. On an error it is unchanged.
    ///
    /// # Errors
    /// The errors that the methods of [`WriteBatch`] name; [`Error::EmptyBatch`], [`Error::EntryTooLarge`],
    /// [`Error::BatchTooLarge`], [`Error::ConfStateTooLarge`], [`Error::Closed`]. With these, nothing was written and
    /// nothing changed. Or the error of the log.
    pub fn write(&self, batch: &mut WriteBatch) -> Result<Ticket> {
        let core = &*self.0;
        let wal = core.wal_with_room()?;
        let ticket = core.write(&wal, batch, Wait::Yes)?;
        // The batch is in the log, whatever the result of this background work. If the log has failed, the ticket and
        // the next write report it.
        let _ = core.advance(&wal);
        Ok(ticket)
    }

    /// As [`Engine::write`], for callers that must not wait, such as the workers of an async runtime. Returns `None`
    /// and leaves the batch unchanged if `write` would wait or would find the disk full, or if a group of the batch
    /// does not exist yet.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub fn try_write(&self, batch: &mut WriteBatch) -> Result<Option<Ticket>> {
        let core = &*self.0;
        let wal = core.wal()?;
        match core.write(&wal, batch, Wait::No) {
            Ok(ticket) => {
                core.advance_now(&wal);
                Ok(Some(ticket))
            }
            Err(Error::Log(seawall_wal::Error::WouldWait)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Blocks until the record at `lsn` ([`Ticket::lsn`]) is durable or `timeout` has passed. Returns the end of the
    /// durable prefix: every record that begins below it is durable (INV-2).
    ///
    /// With this call one thread can collect all of its completions, without callbacks and without another thread. If
    /// the disk is free, the calling thread writes the records itself, even if they are lazy; the timeout does not
    /// interrupt such a write. With a timeout of zero it neither waits nor writes.
    ///
    /// ```
    /// use seawall::{Engine, EntryRef, Error, WriteBatch};
    /// use std::{collections::VecDeque, time::Duration};
    ///
    /// /// Appends `count` entries to `group`, up to 32 in flight; calls `done` with each index, in order, once it is durable.
    /// fn load(engine: &Engine, group: u64, count: u64, mut done: impl FnMut(u64)) -> Result<(), Error> {
    ///     let (mut batch, mut in_flight, mut next) = (WriteBatch::new(), VecDeque::new(), 1);
    ///     while next <= count || !in_flight.is_empty() {
    ///         while next <= count && in_flight.len() < 32 {
    ///             batch.append(group, &[EntryRef { index: next, term: 1, payload: b"x" }]);
    ///             in_flight.push_back((engine.write(&mut batch)?.lsn(), next));
    ///             next += 1;
    ///         }
    ///         let durable = engine.wait_past(in_flight[0].0, Duration::MAX)?;
    ///         while in_flight.front().is_some_and(|(lsn, _)| *lsn < durable) {
    ///             in_flight.pop_front().into_iter().for_each(|(_, index)| done(index));
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = Engine::create(dir.path().join("log"), &seawall::Options::default()).unwrap();
    /// # let mut seen = Vec::new();
    /// # load(&engine, 7, 100, |index| seen.push(index)).unwrap();
    /// # assert!(seen.into_iter().eq(1..=100));
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`]; or the error of the log, if the log stopped before the record was durable or if no record was
    /// written at `lsn`.
    pub fn wait_past(&self, lsn: Lsn, timeout: Duration) -> Result<Lsn> {
        Ok(self.0.wal()?.wait_past(lsn, timeout)?)
    }

    /// Returns the largest payload, in bytes, of a batch that consists of one entry and a hard state.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn entry_bytes_max(&self) -> Result<usize> {
        Ok(self.0.wal()?.record_bytes_max().saturating_sub(ENTRY_OVERHEAD_BYTES))
    }

    /// Waits until everything written so far is durable, including commit indexes and compactions.
    ///
    /// # Errors
    /// [`Error::Closed`], or the error of the log.
    pub fn flush(&self) -> Result<()> {
        let wal = self.0.wal()?;
        // As in `write`, the result of this background work does not matter for what was written.
        let _ = self.0.advance(&wal);
        wal.flush()?;
        Ok(())
    }

    /// Flushes and closes the log. Waits for the calls under way. Later calls that need the log fail with
    /// [`Error::Closed`], on every handle.
    ///
    /// # Errors
    /// [`Error::InsideCall`] if this engine is calling the caller's closure or listener on this thread; nothing was
    /// done. [`Error::Closed`] if the engine was closed before, or the error of the log.
    pub fn close(&self) -> Result<()> {
        if InsideCall::is(&self.0) {
            return Err(Error::InsideCall);
        }
        let wal = self.0.wal.write().take();
        Ok(wal.ok_or(Error::Closed)?.close()?)
    }

    /// Calls `listener` for events of the engine and its log from now on. Only the first listener is used; later ones
    /// are ignored.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_listener(&self, listener: Arc<dyn Listener>) -> Result<()> {
        let wal = self.0.wal()?;
        if self.0.listener.set(Arc::clone(&listener)).is_ok() {
            wal.set_listener(listener);
        }
        Ok(())
    }

    /// Returns statistics of the engine and its log. Examines every group if something keeps the oldest segment.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stats(&self) -> Result<Stats> {
        let core = &*self.0;
        let wal = core.wal()?;
        Ok(Stats {
            log: wal.stats(),
            groups: core.users_groups().len(),
            entries: core.pins.live_entries(),
            segments: (wal.first_segment(), wal.active_segment()),
            cache: core.tail.stats(),
            rewrite: core.rewrite.stats(&core.groups),
            restate: core.sweep.stats(),
            compression: core.packer.stats(),
            blocker: core.blocker(&wal),
            readers: core.readers.stats(&wal),
        })
    }
}

impl EngineInner {
    fn wal(&self) -> Result<MappedRwLockReadGuard<'_, Wal>> {
        // Recursive: a closure of a caller may call the engine again while another thread waits to close it.
        RwLockReadGuard::try_map(self.wal.read_recursive(), Option::as_ref).map_err(|_| Error::Closed)
    }

    /// As [`EngineInner::wal`], but waits until another callback may be registered. Holds no lock meanwhile: a
    /// callback may need the locks that a write takes, or close the engine.
    fn wal_with_room(&self) -> Result<MappedRwLockReadGuard<'_, Wal>> {
        loop {
            let wal = self.wal()?;
            match wal.callbacks_full()? {
                None => return Ok(wal),
                Some(full) => {
                    drop(wal);
                    full.wait();
                }
            }
        }
    }

    /// The groups without the one that holds the owner of the log.
    fn users_groups(&self) -> Vec<GroupId> {
        let mut groups = self.groups.ids();
        groups.retain(|group| *group != OWNER_GROUP);
        groups
    }

    fn write(&self, wal: &Wal, batch: &mut WriteBatch, wait: Wait) -> Result<Ticket> {
        let (memory, payload) = ((&self.tail, &self.packer), batch.has_payload());
        let max = self.options.meta_bytes_max;
        let written = write::write(wal, &self.groups, &self.pins, memory, max, batch, wait);
        match &written {
            Ok(_) => {
                self.sealer.gather();
                if payload && self.full.load(Ordering::Relaxed) {
                    self.full.store(false, Ordering::Relaxed);
                }
            }
            Err(error) if error.is_no_space() => self.found_full(wal),
            Err(_) => {}
        }
        written
    }

    /// Finds what keeps the oldest segment.
    fn blocker(&self, wal: &Wal) -> Option<Blocker> {
        let (segment, count) = self.pins.blocker(|| wal.active_segment())?;
        let positive = |count: i64| u64::try_from(count).unwrap_or(0);
        // Entries and state that were released since the count was taken are reported as [`BlockedBy::Call`].
        let first = |has: &dyn Fn(&GroupState) -> bool| self.groups.select(has).into_iter().min();
        let entry = |state: &GroupState| state.entries_up_to(segment).next().map(|(index, ..)| index);
        let by_entry = || {
            let group = first(&|state| entry(state).is_some()).filter(|_| count.entries > 0)?;
            let index = entry(&self.groups.get(group)?.read())?;
            Some(BlockedBy::Entry { group, index })
        };
        let by_state = || {
            let group = first(&|state| state.state_up_to(segment).next().is_some());
            Some(BlockedBy::State { group: group.filter(|_| count.states > 0)? })
        };
        let segments = u64::from(wal.active_segment().saturating_sub(segment));
        Some(Blocker {
            segment,
            held_bytes: segments.saturating_mul(wal.segment_bytes()),
            entries: positive(count.entries),
            live_bytes: positive(count.bytes),
            states: positive(count.states),
            by: by_entry().or_else(by_state).unwrap_or(BlockedBy::Call),
        })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.0.options).finish_non_exhaustive()
    }
}
