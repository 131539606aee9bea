//! Read access to one group of an engine.
//!
//! Everything except payloads is read from memory, under the group's lock, which is held only while the value is
//! copied. All methods may be called from any thread.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seawall_wal::Lsn;

use crate::engine::user_handle::{InsideCall, UserHandle};
use crate::error::{Error, Result};
use crate::group::GroupState;
use crate::read::{self, Maps, ReadRequest};
use crate::types::{ConfState, Entry, GroupId, HardState, MetaKey, SnapshotMarker};

/// How long one wait may last; [`Engine::close`](crate::Engine::close) waits for it.
const WAIT_SLICE: Duration = Duration::from_millis(20);

/// A cheap handle for reading one group of an engine. A group that does not exist reads as empty.
#[derive(Clone)]
pub struct Group {
    pub(super) core: Arc<UserHandle>,
    pub(super) id: GroupId,
}

impl Group {
    /// Number of the group.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Index of the first entry in the log, or of the entry that would be first: one past the compaction point. Read
    /// from memory; 1 for a group that does not exist.
    pub fn first_index(&self) -> u64 {
        self.look(GroupState::first_index)
    }

    /// Index of the last entry, or the compaction point if the log is empty. Read from memory; 0 for a group that
    /// does not exist.
    pub fn last_index(&self) -> u64 {
        self.look(GroupState::last_index)
    }

    /// Term of `index`, which must be the compaction point or the index of an entry in the log. Read from memory.
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

    /// `(first index, term)` of each run of consecutive entries with the same term, ascending. Read from memory.
    pub fn term_runs(&self) -> Vec<(u64, u64)> {
        self.look(|state| state.term_runs().collect())
    }

    /// The hard state as last written; all zeros if none was written. Read from memory.
    pub fn hard_state(&self) -> HardState {
        self.look(GroupState::hard)
    }

    /// The conf state as last written; `None` if none was written. Read from memory.
    pub fn conf_state(&self) -> Option<Arc<ConfState>> {
        self.look(|state| state.conf().cloned())
    }

    /// Markers of the two newest snapshots, the newest first. Read from memory.
    ///
    /// To be able to fall back to the older snapshot, do not compact the log beyond it.
    pub fn snapshots(&self) -> Vec<SnapshotMarker> {
        self.look(|state| state.snapshots().collect())
    }

    /// The metadata value of `key`, if there is one. Read from memory, without a copy.
    pub fn meta(&self, key: &[u8]) -> Option<Bytes> {
        let key = MetaKey::new(key)?;
        self.look(|state| state.meta(&key).cloned())
    }

    /// All metadata values of the group with their keys, sorted by key. Read from memory.
    pub fn metas(&self) -> Vec<(Vec<u8>, Bytes)> {
        self.look(|state| {
            state.metas().map(|(key, value)| (key.as_bytes().to_vec(), value.clone())).collect()
        })
    }

    /// Index and term of the last entry that was dropped; `(0, 0)` if none was. Read from memory.
    pub fn compaction_point(&self) -> (u64, u64) {
        let point = self.look(GroupState::point);
        (point.index, point.term)
    }

    /// Reads the entries from `low` up to, but not including, `high`. With `max_bytes`, reads as many of them as have
    /// at most that many bytes of payload in total, but at least one. The result ends early only because of that
    /// limit.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `low` is at or below the compaction point, [`Error::Unavailable`] if the log ends
    /// before `high - 1`, [`Error::Range`] if `low > high`; [`Error::DamagedEntry`] if a payload fails its checksum,
    /// [`Error::Compressed`] if it cannot be decompressed; [`Error::Closed`]; or the error of the log.
    pub fn entries(&self, low: u64, high: u64, max_bytes: Option<u64>) -> Result<Vec<Entry>> {
        self.read(low, high, max_bytes, |_| true)
    }

    /// As [`Group::entries`], with an additional limit of the caller: `more` is called with each entry in order,
    /// including the first. If it returns `false`, the result ends before that entry; the first entry is always
    /// included. `max_bytes` limits how much is read.
    ///
    /// `more` may use the engine: it may read and write any group, flush, and make readers. Until it returns, the
    /// segments of these entries and all later ones are kept. [`Engine::close`](super::Engine::close) inside `more`
    /// fails with [`Error::InsideCall`]. `close` on another thread waits until `more` has returned, so `more` must
    /// not wait for that thread.
    ///
    /// # Errors
    /// As [`Group::entries`].
    pub fn entries_with(
        &self,
        low: u64,
        high: u64,
        max_bytes: Option<u64>,
        mut more: impl FnMut(&Entry) -> bool,
    ) -> Result<Vec<Entry>> {
        self.read(low, high, max_bytes, |entry| {
            let _inside = InsideCall::of(&self.core);
            more(entry)
        })
    }

    fn read(
        &self,
        low: u64,
        high: u64,
        max_bytes: Option<u64>,
        more: impl FnMut(&Entry) -> bool,
    ) -> Result<Vec<Entry>> {
        let core = &*self.core;
        let wal = core.wal()?;
        let wanted = ReadRequest { group: self.id, low, high, max_bytes: max_bytes.unwrap_or(u64::MAX) };
        let maps = core.map_sealed.then(|| Maps::new(&wal));
        read::entries(core.store(&wal), maps, wanted, more)
    }

    /// As [`Group::entries`], without I/O: `None` unless all payloads of the result are in memory.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Unavailable`] and [`Error::Range`] as [`Group::entries`].
    pub fn entries_in_memory(
        &self,
        low: u64,
        high: u64,
        max_bytes: Option<u64>,
    ) -> Result<Option<Vec<Entry>>> {
        let core = &*self.core;
        let wanted = ReadRequest { group: self.id, low, high, max_bytes: max_bytes.unwrap_or(u64::MAX) };
        read::entries_in_memory(&core.groups, &core.usage, &core.cache, wanted)
    }

    /// Returns the lowest index such that the entries after it, up to `index`, number at most `entries` and have at
    /// most `bytes` bytes of payload as stored. Not below the compaction point.
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

    /// The end of the log's durable prefix.
    pub(super) fn durable(&self) -> Result<Lsn> {
        Ok(self.core.wal()?.durable())
    }

    /// Waits until entry `index`, which was not there and durable when [`Group::written`] returned `written`, may be, for
    /// up to `timeout`. May return early.
    pub(super) fn wait_for(&self, index: u64, written: u32, timeout: Duration) -> Result<()> {
        let core = &*self.core;
        let timeout = timeout.min(WAIT_SLICE);
        match self.look(|state| state.location(index)) {
            None => core.written.wait(written, Some(timeout)),
            Some(at) => match core.wal()?.wait_past(Lsn::new(at.segment, at.offset), timeout) {
                // The entry has been moved or removed meanwhile.
                Err(seawall_wal::Error::NotInLog { .. }) => {}
                waited => _ = waited?,
            },
        }
        Ok(())
    }

    /// Counts the writes to the engine, while somebody follows a group.
    pub(super) fn written(&self) -> u32 {
        self.core.written.rung()
    }

    /// One past the last of the consecutive entries from `low` on, up to `high`, that lie below `durable`.
    pub(super) fn durable_from(&self, low: u64, high: u64, durable: Lsn) -> u64 {
        self.look(|state| {
            let below = |index: &u64| {
                let at = state.location(*index);
                at.is_some_and(|at| Lsn::new(at.segment, at.offset) < durable)
            };
            (low..high).find(|index| !below(index)).unwrap_or(high)
        })
    }

    fn look<T>(&self, at: impl FnOnce(&GroupState) -> T) -> T {
        match self.core.groups.get(self.id) {
            Some(slot) => at(&slot.read()),
            None => at(&GroupState::default()),
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("id", &self.id).finish_non_exhaustive()
    }
}
