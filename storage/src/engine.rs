//! The engine: one log, many groups. Composition only; each method is one line of some floor below.
//! Place on the data's way: where callers come in. Invariants: the order of a write, once and here: enqueued
//! -> index published -> written -> durable -> ticket. All methods may be called from any thread.
//! Fails: each method says how; after the log's first failed write every call that writes fails (INV-7).

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use seawall_wal::{Env, Threads, Ticket, Wal};

use crate::cache::{CacheStats, Tail};
use crate::compact::{self, Sweep};
use crate::error::{Error, Result};
use crate::group::{FooterSealer, GroupState, Groups, Pins};
use crate::keeper::Keeper;
use crate::options::Options;
use crate::pack::{CompressionStats, Packer};
use crate::restore::{self, Fenced, Found};
use crate::rewrite::{Rewrite, RewriteStats};
use crate::types::{ConfState, Entry, FencedEntry, GroupId, HardState, Location, MetaKey, SnapshotMarker};
use crate::view::{self, Wanted};
use crate::write::{self, WriteBatch};

/// More than a record of one entry and one hard state has besides the payload, its share of the footer
/// included: about 350 bytes.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// Many Raft groups on one durable log. Cloning gives another handle of the same engine.
///
/// Dropping the last handle without [`Engine::close`] is like a kill: what was not acknowledged may be
/// lost.
#[derive(Clone)]
pub struct Engine(Arc<Core>);

/// One group of an engine: a cheap handle for reading. The group need not exist; then it is empty.
#[derive(Clone)]
pub struct Group {
    core: Arc<Core>,
    id: GroupId,
}

struct Core {
    /// `None` once closed; closing waits for the calls under way.
    wal: RwLock<Option<Wal>>,
    groups: Groups,
    pins: Pins,
    tail: Tail,
    packer: Packer,
    sweep: Sweep,
    /// What open found damaged; entries that are gone since then included.
    fenced: Fenced,
    rewrite: Rewrite,
    /// Who rewrites; unset where writers do, a piece behind each write.
    keeper: OnceLock<Keeper>,
    /// The segment being written when the keeper was last woken.
    seen: AtomicU32,
    options: Options,
}

/// What opening an engine found.
#[derive(Debug)]
pub struct Report {
    /// What the log found: records kept, dropped and why, durations.
    pub log: seawall_wal::Report,
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
    /// What keeps the log's prefix: the lowest segment that holds anything, its live entries, and its pieces of small
    /// state that are the latest of their group: hard and conf states, compaction points, markers, metadata.
    pub oldest: Option<(u32, u64, u64)>,
    /// Reads that memory answered, and those that it did not.
    pub cache: CacheStats,
    /// What was copied out of old segments.
    pub rewrite: RewriteStats,
    /// What compression made of payloads.
    pub compression: CompressionStats,
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
    /// [`Error::CommitBeyondLog`], [`Error::Damage`] and [`Error::Record`] if acknowledged data is missing
    /// or cannot be understood; in another than strict mode [`Error::Unaccounted`],
    /// [`Error::DamagedConfState`] and [`Error::DamagedMeta`] if more is damaged than payloads; [`Error::Option`]; or the log's error. On an error nothing was changed by
    /// the engine.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<(Engine, Report)> {
        options.check()?;
        Engine::restore(Wal::open(dir, &options.log)?, Threads::Spawned, options)
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
        Engine::restore(Wal::open_in(env, &options.log)?, threads, options)
    }

    fn restore(
        (wal, log): (Wal, seawall_wal::Report),
        threads: Threads,
        options: &Options,
    ) -> Result<(Engine, Report)> {
        let (groups, pins, found, fenced) = restore::restore(&wal, &log.by_footer)?;
        let Found { records, groups: count, entries } = found;
        let engine = Engine::start(wal, threads, (groups, pins, fenced), options)?;
        Ok((engine, Report { log, records, groups: count, entries }))
    }

    fn fresh(wal: Wal, threads: Threads, options: &Options) -> Result<Engine> {
        Engine::start(wal, threads, (Groups::new([]), Pins::default(), Vec::new()), options)
    }

    fn start(
        wal: Wal,
        threads: Threads,
        (groups, pins, fenced): (Groups, Pins, Fenced),
        options: &Options,
    ) -> Result<Engine> {
        wal.set_sealer(Box::new(FooterSealer::default()))?;
        let core = Arc::new(Core {
            wal: RwLock::new(Some(wal)),
            groups,
            pins,
            tail: Tail::new(options.cache_bytes),
            packer: Packer::new(options.compression),
            sweep: Sweep::default(),
            fenced,
            rewrite: Rewrite::default(),
            keeper: OnceLock::new(),
            seen: AtomicU32::new(0),
            options: options.clone(),
        });
        if threads == Threads::Spawned {
            let weak = Arc::downgrade(&core);
            let step = move || weak.upgrade().map(|core| core.rewrite().unwrap_or(false));
            let keeper = Keeper::spawn(step).map_err(|source| Error::Thread { source: Arc::new(source) })?;
            let _ = core.keeper.set(keeper);
        }
        Ok(Engine(core))
    }

    /// A handle of group `id`, whether it exists or not.
    pub fn group(&self, id: GroupId) -> Group {
        Group { core: Arc::clone(&self.0), id }
    }

    /// Numbers of the groups that exist, ascending.
    pub fn groups(&self) -> Vec<GroupId> {
        self.0.groups.ids()
    }

    /// Entries whose payloads are damaged, by group and index: their indexes and terms are right, reading one
    /// is [`Error::DamagedEntry`]. Always empty in strict mode. An entry leaves the list when it is overwritten
    /// or compacted.
    ///
    /// Until then the node lacks what it has acknowledged: see `docs/durability.md`, *Living with fenced entries*.
    pub fn damaged(&self) -> Vec<FencedEntry> {
        let still = |(entry, at): &&(FencedEntry, Location)| {
            let cell = self.0.groups.get(entry.group);
            let now = cell.and_then(|cell| cell.read().location(entry.index));
            now.is_some_and(|now| (now.segment, now.offset) == (at.segment, at.offset))
        };
        let mut damaged: Vec<_> = self.0.fenced.iter().filter(still).map(|(entry, _)| *entry).collect();
        damaged.sort_unstable();
        damaged
    }

    /// Writes `batch` as one record: readable when this returns, durable when the ticket says (INV-1,
    /// INV-2). Waits only for other batches of the same groups, and for room in the log's queue.
    ///
    /// On success the batch is left empty, its buffers kept; on an error it is unchanged.
    ///
    /// # Errors
    /// What [`WriteBatch`] says of each operation; [`Error::EmptyBatch`], [`Error::EntryTooLarge`],
    /// [`Error::BatchTooLarge`], [`Error::Closed`]: nothing was written and nothing changed. Or the log's.
    pub fn write(&self, batch: &mut WriteBatch) -> Result<Ticket> {
        let core = &*self.0;
        let wal = core.wal()?;
        let ticket = write::write(
            &wal,
            &core.groups,
            &core.pins,
            (&core.tail, &core.packer),
            core.options.meta_bytes_max,
            batch,
        )?;
        // The batch is in the log whatever becomes of the housekeeping; an error of the log stays, so the
        // ticket and the next write have it too.
        let _ = core.advance(&wal);
        Ok(ticket)
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
        self.0.advance(&wal)?;
        wal.flush()?;
        Ok(())
    }

    /// Flushes and closes the log; waits for the calls under way. Later calls of any handle that need the
    /// log give [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::Closed`] if it was closed before, or the log's error.
    pub fn close(&self) -> Result<()> {
        let wal = self.0.wal.write().take();
        Ok(wal.ok_or(Error::Closed)?.close()?)
    }

    /// Figures of the engine and its log.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stats(&self) -> Result<Stats> {
        let core = &*self.0;
        let wal = core.wal()?;
        let positive = |count: i64| u64::try_from(count).unwrap_or(0);
        Ok(Stats {
            log: wal.stats(),
            groups: core.groups.ids().len(),
            entries: core.pins.live_entries(),
            segments: (wal.first_segment(), wal.active_segment()),
            cache: core.tail.stats(),
            rewrite: core.rewrite.stats(),
            compression: core.packer.stats(),
            oldest: core.pins.lowest().map(|(at, c)| (at, positive(c.entries), positive(c.states))),
        })
    }
}

impl Core {
    fn wal(&self) -> Result<MappedRwLockReadGuard<'_, Wal>> {
        // Recursive, because a caller's closure may call in again while another thread waits to close.
        RwLockReadGuard::try_map(self.wal.read_recursive(), Option::as_ref).map_err(|_| Error::Closed)
    }

    fn advance(&self, wal: &Wal) -> Result<()> {
        compact::advance(wal, &self.groups, &self.pins, &self.sweep, self.options.restate_groups_max)?;
        match self.keeper.get() {
            // There is something to do at most once per segment.
            Some(keeper) => {
                let segment = wal.active_segment();
                if self.seen.swap(segment, Ordering::Relaxed) != segment {
                    keeper.wake();
                }
            }
            None => {
                self.rewrite.step(wal, &self.groups, &self.pins, self.options.slack_bytes as u64)?;
            }
        }
        Ok(())
    }

    /// One piece of rewriting, and the release of what it freed; whether there is more.
    fn rewrite(&self) -> Result<bool> {
        let wal = self.wal()?;
        let more = self.rewrite.step(&wal, &self.groups, &self.pins, self.options.slack_bytes as u64)?;
        compact::advance(&wal, &self.groups, &self.pins, &self.sweep, self.options.restate_groups_max)?;
        Ok(more)
    }
}

impl Group {
    /// The group's number.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Index of the first entry that the log has, or would have: one above the compaction point. From
    /// memory; 1 for a group that does not exist.
    pub fn first_index(&self) -> u64 {
        self.look(GroupState::first_index)
    }

    /// Index of the last entry; the compaction point if there is none. From memory; 0 for a group that
    /// does not exist.
    pub fn last_index(&self) -> u64 {
        self.look(GroupState::last_index)
    }

    /// The term of `index`, which is the compaction point or an entry of the log. From memory.
    ///
    /// # Errors
    /// [`Error::Compacted`] below the compaction point, [`Error::Unavailable`] beyond the last index.
    pub fn term(&self, index: u64) -> Result<u64> {
        let group = self.id;
        self.look(|state| {
            let (point, last_index) = (state.point().index, state.last_index());
            let unavailable = Error::Unavailable { group, index, last_index };
            state.term(index).ok_or(if index < point {
                Error::Compacted { group, index, point }
            } else {
                unavailable
            })
        })
    }

    /// `(first index, term)` of each run of entries with one term, ascending. From memory.
    pub fn term_runs(&self) -> Vec<(u64, u64)> {
        self.look(|state| state.term_runs().collect())
    }

    /// The hard state as last written; all zeros before that.
    pub fn hard_state(&self) -> HardState {
        self.look(GroupState::hard)
    }

    /// The conf state as last written.
    pub fn conf_state(&self) -> Option<Arc<ConfState>> {
        self.look(|state| state.conf().cloned())
    }

    /// The markers of the two newest snapshots, the newest first; the log is to be kept from the older one on
    /// if falling back to it is to be possible. From memory.
    pub fn snapshots(&self) -> Vec<SnapshotMarker> {
        self.look(|state| state.snapshots().collect())
    }

    /// The user's value of `key`. From memory; not copied.
    pub fn meta(&self, key: &[u8]) -> Option<Bytes> {
        let key = MetaKey::new(key)?;
        self.look(|state| state.meta(&key).cloned())
    }

    /// All values of the user's, by key. From memory.
    pub fn metas(&self) -> Vec<(Vec<u8>, Bytes)> {
        self.look(|state| {
            state.metas().map(|(key, value)| (key.as_bytes().to_vec(), value.clone())).collect()
        })
    }

    /// Index and term of the last entry that is gone; `(0, 0)` if none is.
    pub fn compaction_point(&self) -> (u64, u64) {
        let point = self.look(GroupState::point);
        (point.index, point.term)
    }

    /// The entries from `low` up to, and without, `high`: all, or as many as have at most `max_bytes` bytes
    /// of payload, but at least one. A result that ends early means that the limit was reached and nothing
    /// else.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `low` is not behind the compaction point, [`Error::Unavailable`] if the log
    /// ends before `high - 1`, [`Error::Range`] if `low > high`; [`Error::DamagedEntry`] if a payload is
    /// not what was written, [`Error::Compressed`] if it cannot be decompressed; [`Error::Closed`]; or the log's error.
    pub fn entries(&self, low: u64, high: u64, max_bytes: Option<u64>) -> Result<Vec<Entry>> {
        self.entries_with(low, high, max_bytes, |_| true)
    }

    /// As [`Group::entries`], with the caller's own measure on top: `more` sees each entry in turn, the
    /// first included, and ends the result before the entry it says no to; the first is always there.
    /// `max_bytes` bounds what is read for it.
    ///
    /// # Errors
    /// As [`Group::entries`].
    pub fn entries_with(
        &self,
        low: u64,
        high: u64,
        max_bytes: Option<u64>,
        more: impl FnMut(&Entry) -> bool,
    ) -> Result<Vec<Entry>> {
        let core = &*self.core;
        let wal = core.wal()?;
        let wanted = Wanted { group: self.id, low, high, max_bytes: max_bytes.unwrap_or(u64::MAX) };
        view::entries(&wal, &core.groups, &core.pins, (&core.tail, &core.packer), wanted, more)
    }

    /// The lowest index such that the entries behind it, up to `index`, are at most so many and have at most so many
    /// bytes of payload as they are stored. Not below the compaction point.
    #[cfg(feature = "snapshots")]
    pub(crate) fn behind(&self, index: u64, entries: u64, bytes: u64) -> u64 {
        self.look(|state| {
            let (mut at, mut left) = (index, bytes);
            while at > state.point().index && index - at < entries {
                let length = state.location(at).map_or(u64::MAX, |location| location.length.into());
                let Some(rest) = left.checked_sub(length) else { break };
                (at, left) = (at - 1, rest);
            }
            at
        })
    }

    fn look<T>(&self, at: impl FnOnce(&GroupState) -> T) -> T {
        match self.core.groups.get(self.id) {
            Some(cell) => at(&cell.read()),
            None => at(&GroupState::default()),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("id", &self.id).finish_non_exhaustive()
    }
}
