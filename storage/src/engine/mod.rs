//! The engine: one log, many groups. Composition only; each method is one line of some floor below.
//! Place on the data's way: where callers come in. Invariants: the order of a write, once and here: enqueued
//! -> index published -> written -> durable -> ticket. All methods may be called from any thread.
//! Fails: each method says how; after the log's first failed write every call that writes fails (INV-7).

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

/// More than a record of one entry and one hard state has besides the payload, its share of the footer
/// included: about 350 bytes.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// Many Raft groups on one durable log. Cloning gives another handle of the same engine; a [`Group`] and a
/// [`PinnedReader`] are handles, too.
///
/// Dropping the last handle without [`Engine::close`] is like a kill: what was not acknowledged may be
/// lost. The drop waits for work of the engine's own threads that is under way, and has released the directory when it
/// returns, so that it can be opened again at once.
#[derive(Clone)]
pub struct Engine(Arc<UserHandle>);

struct EngineInner {
    /// `None` once closed; closing waits for the calls under way.
    wal: RwLock<Option<Wal>>,
    groups: Groups,
    pins: SegmentUsage,
    tail: EntryCache,
    packer: Compressor,
    map_sealed: bool,
    readers: reader::Readers,
    sweep: PrefixRelease,
    /// What open found damaged; entries that are gone since then included.
    fenced: DamagedRecords,
    rewrite: Rewrite,
    /// The index of the segment being written; the log has it too.
    sealer: FooterIndexBuilder,
    /// Who rewrites; unset where writers do, a piece behind each write.
    keeper: OnceLock<BackgroundThread>,
    /// The segment being written when the keeper was last woken.
    seen: AtomicU32,
    /// A write found the disk full, and no payload was written since.
    full: AtomicBool,
    listener: OnceLock<Arc<dyn Listener>>,
    pace: Mutex<Throttle>,
    /// Held while it is said whose log it is.
    whose: Mutex<()>,
    #[cfg(feature = "raft-rs")]
    errands: TaskPool,
    #[cfg(feature = "snapshots")]
    snapshots: TaskPool,
    /// Whether there are openraft logs on this engine.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    openraft: AtomicBool,
    options: Options,
}

/// What opening an engine found.
#[derive(Debug)]
pub struct Report {
    /// What the log found: records kept, dropped and why, durations.
    pub log: seawall_wal::RecoveryReport,
    /// Records of the log, those included that an index stood for: `log.by_footer` says of which segments
    /// only the index was read.
    pub records: u64,
    /// Groups that exist.
    pub groups: u64,
    /// Live entries of all groups.
    pub entries: u64,
}

/// Figures of a running engine.
#[derive(Debug)]
pub struct Stats {
    /// Figures of the log.
    pub log: seawall_wal::Stats,
    /// Groups that exist.
    pub groups: usize,
    /// Live entries of all groups.
    pub entries: u64,
    /// Lowest segment kept and segment being written.
    pub segments: (u32, u32),
    /// What keeps the oldest segment that cannot go; `None` if only the segment being written holds anything.
    pub blocker: Option<Blocker>,
    /// Pinned readers, in the order in which they were made.
    pub readers: Vec<ReaderStats>,
    /// Reads that memory answered, and those that it did not.
    pub cache: CacheStats,
    /// What was copied out of old segments.
    pub rewrite: RewriteStats,
    /// Small state that was repeated.
    pub restate: ReemitStats,
    /// What compression made of payloads.
    pub compression: CompressionStats,
}

/// What keeps the log's prefix from being given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocker {
    /// The lowest segment that has to stay.
    pub segment: u32,
    /// Bytes of the segments from that one up to, and without, the one being written: they stay with it.
    pub held_bytes: u64,
    /// Live entries of the segment.
    pub entries: u64,
    /// Bytes that these take, about.
    pub live_bytes: u64,
    /// Pieces of small state in the segment that are the latest of their group: hard and conf states, compaction
    /// points, snapshot markers, metadata.
    pub states: u64,
    /// Who holds it.
    pub by: BlockedBy,
}

/// Who holds a segment. Of several the one that keeps it longest: entries, small state, a call under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BlockedBy {
    /// An entry is live in it: the first one of the group of the lowest number. It goes when it is compacted, or is
    /// copied out of the way, unless [`RewriteStats::stuck`] names it.
    Entry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
    },
    /// The latest small state of a group is in it; it is repeated in the log by and by.
    State {
        /// The group, of several that of the lowest number.
        group: GroupId,
    },
    /// A read or a write under way. A pinned reader is none: it keeps files, and never the log.
    Call,
}

impl Engine {
    /// Creates an engine in `dir`, which must not have one.
    ///
    /// # Errors
    /// [`Error::Option`], or the log's error.
    pub fn create(dir: impl AsRef<Path>, options: &Options) -> Result<Engine> {
        options.check()?;
        Engine::fresh(Wal::create(dir, &options.log)?, Threads::Spawned, options)
    }

    /// Opens the engine in `dir`. What it then shows is durable (INV-3).
    ///
    /// # Errors
    /// The log's `Corrupt` with every damaged place; in another than strict mode [`Error::Lost`] if more is damaged
    /// than payloads of entries; [`Error::CommitBeyondLog`], [`Error::Damage`] and [`Error::Record`] if acknowledged
    /// data is missing or cannot be understood; [`Error::OtherOwner`] if it is not the log of [`Options::owner`]. None
    /// of these has changed anything in the directory but the lock file. [`Error::Option`]; or another error of the log.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<(Engine, Report)> {
        options.check()?;
        Engine::open_in(Env::posix(dir.as_ref(), &options.log)?, options)
    }

    /// As [`Engine::create`], with disk, clock, randomness and threads as parameters.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn create_in(env: Env, options: &Options) -> Result<Engine> {
        options.check()?;
        let threads = env.threads;
        Engine::fresh(Wal::create_in(env, &options.log)?, threads, options)
    }

    /// As [`Engine::open`], with disk, clock, randomness and threads as parameters.
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
        // Nothing was written so far: what the replay refuses is left as it was found.
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
            // Work may be due since before the open.
            keeper.wake();
            let _ = engine.0.keeper.set(keeper);
        }
        Ok(engine)
    }

    /// A handle of group `id`, whether it exists or not.
    pub fn group(&self, id: GroupId) -> Group {
        Group { core: Arc::clone(&self.0), id }
    }

    /// Numbers of the groups that exist, ascending.
    ///
    /// Every number is an ordinary group to the engine. The openraft adapters keep the vote and the purged log id of group
    /// *n* in a group of their own, numbered *n* + 2^63 ([`GroupId`]): it is in this list too.
    pub fn groups(&self) -> Vec<GroupId> {
        self.0.users_groups()
    }

    /// Takes the right to make the openraft logs of this engine; `false` if somebody has it.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    pub(crate) fn take_openraft(&self) -> bool {
        !self.0.openraft.swap(true, Ordering::AcqRel)
    }

    /// Gives that right back.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    pub(crate) fn return_openraft(&self) {
        self.0.openraft.store(false, Ordering::Release);
    }

    /// Entries whose payloads are damaged, by group and index: their indexes and terms are right, reading one
    /// is [`Error::DamagedEntry`]. Always empty in strict mode. An entry leaves the list when it is overwritten
    /// or compacted.
    ///
    /// Until then the node lacks what it has acknowledged: see `docs/durability.md`, *Living with fenced entries*.
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

    /// Writes `batch` as one record: readable when this returns, durable when the ticket says (INV-1,
    /// INV-2). Waits only for other batches of the same groups, for room in the log's queue, and while too many
    /// callbacks are outstanding ([`seawall_wal::Options::answers_max`]).
    ///
    /// May be called inside of a callback ([`Ticket::on_durable`]), where it does not wait for other callbacks.
    ///
    /// On success the batch is left empty, its buffers kept; on an error it is unchanged.
    ///
    /// # Errors
    /// What [`WriteBatch`] says of each operation; [`Error::EmptyBatch`], [`Error::EntryTooLarge`],
    /// [`Error::BatchTooLarge`], [`Error::Closed`]: nothing was written and nothing changed. Or the log's.
    pub fn write(&self, batch: &mut WriteBatch) -> Result<Ticket> {
        let core = &*self.0;
        let wal = core.wal_with_room()?;
        let ticket = core.write(&wal, batch, Wait::Yes)?;
        // The batch is in the log whatever becomes of the housekeeping; an error of the log stays, so the
        // ticket and the next write have it too.
        let _ = core.advance(&wal);
        Ok(ticket)
    }

    /// As [`Engine::write`], for callers that must not wait, such as the workers of an async runtime:
    /// `None` where `write` would wait for other batches or for room in the log, and for groups that do not
    /// exist yet. The batch is as before then.
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

    /// Blocks until the record at `lsn` ([`Ticket::lsn`]) is durable, or `timeout` is over; returns the end of the
    /// durable prefix: every record that begins below it is durable (INV-2). With this one call a thread takes all
    /// its completions, without callbacks and without another thread that hands them over. A thread that finds the disk
    /// free writes itself, also if the record is lazy; such a write is not cut short by the timeout.
    ///
    /// ```
    /// use seawall::{Engine, EntryRef, Error, WriteBatch};
    /// use std::{collections::VecDeque, time::Duration};
    ///
    /// /// Appends `count` entries to `group` with up to 32 in flight; `done` hears of each when it is durable, in order.
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
    /// [`Error::Closed`]; or the log's error, if the log stopped before the record was durable or nothing was
    /// written at `lsn`.
    pub fn wait_past(&self, lsn: Lsn, timeout: Duration) -> Result<Lsn> {
        Ok(self.0.wal()?.wait_past(lsn, timeout)?)
    }

    /// Bytes of payload that a batch of one entry, with a hard state beside it, has room for.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn entry_bytes_max(&self) -> Result<usize> {
        Ok(self.0.wal()?.record_bytes_max().saturating_sub(ENTRY_OVERHEAD_BYTES))
    }

    /// Waits until everything written so far is durable, commit indexes and compactions included.
    ///
    /// # Errors
    /// [`Error::Closed`], or the log's error.
    pub fn flush(&self) -> Result<()> {
        let wal = self.0.wal()?;
        // What was written does not rest on the housekeeping, as in `write`.
        let _ = self.0.advance(&wal);
        wal.flush()?;
        Ok(())
    }

    /// Flushes and closes the log; waits for the calls under way. Later calls of any handle that need the
    /// log give [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::InsideCall`] from inside of a closure or a listener that this engine is calling: nothing was done.
    /// [`Error::Closed`] if it was closed before, or the log's error.
    pub fn close(&self) -> Result<()> {
        if InsideCall::is(&self.0) {
            return Err(Error::InsideCall);
        }
        let wal = self.0.wal.write().take();
        Ok(wal.ok_or(Error::Closed)?.close()?)
    }

    /// Tells `listener` of events of the engine and its log from now on; only the first one counts.
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

    /// Figures of the engine and its log. Looks at every group if something keeps the log's prefix.
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
        // Recursive, because a caller's closure may call in again while another thread waits to close.
        RwLockReadGuard::try_map(self.wal.read_recursive(), Option::as_ref).map_err(|_| Error::Closed)
    }

    /// As [`Core::wal`], once callbacks have room for one more. Nothing is held while it waits for that: a callback may
    /// want the locks of a write, or close the engine.
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

    /// The groups without the one that says whose log it is.
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

    /// What keeps the oldest segment.
    fn blocker(&self, wal: &Wal) -> Option<Blocker> {
        let (segment, count) = self.pins.blocker(|| wal.active_segment())?;
        let positive = |count: i64| u64::try_from(count).unwrap_or(0);
        // What has gone since the count was taken is as good as gone.
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
