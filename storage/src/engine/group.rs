//! One group of an engine, for readers.
//! Place on the data's way: where readers come in. Invariants: all but payloads is answered from memory, under the
//! group's lock for as long as it takes to copy it. All methods may be called from any thread.
//! Fails: each method says how.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::reader::PinnedReader;
use crate::engine::handles::{InsideCall, UserHandle};
use crate::error::{Error, Result};
use crate::group::GroupState;
use crate::read::{self, Maps, ReadRequest};
use crate::types::{ConfState, Entry, GroupId, HardState, MetaKey, SnapshotMarker};

/// One group of an engine: a cheap handle for reading. The group need not exist; then it is empty.
#[derive(Clone)]
pub struct Group {
    pub(super) core: Arc<UserHandle>,
    pub(super) id: GroupId,
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
        self.read(low, high, max_bytes, |_| true)
    }

    /// As [`Group::entries`], with the caller's own measure on top: `more` sees each entry in turn, the
    /// first included, and ends the result before the entry it says no to; the first is always there.
    /// `max_bytes` bounds what is read for it.
    ///
    /// `more` may use the engine: read and write any group, flush, make readers. It keeps the segments of these entries until
    /// it returns, and with them the log's prefix. [`Engine::close`](super::Engine::close) from inside of it is
    /// [`Error::InsideCall`]; one by another thread waits until `more` has returned, so `more` must not wait for that.
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
        read::entries(&wal, &core.groups, &core.pins, (&core.tail, &core.packer), maps, wanted, more)
    }

    /// A reader of the entries from `low` up to, and without, `high`, as they are now, whatever is compacted,
    /// overwritten or removed meanwhile. It keeps the files of the segments that have them from being used again,
    /// each until it has read past it, and keeps nothing else: the log gives its prefix back, and other groups
    /// go on. [`Stats::readers`](crate::Stats::readers) shows it. Waits until the entries are durable.
    ///
    /// # Errors
    /// As [`Group::entries`].
    pub fn pin(&self, low: u64, high: u64) -> Result<PinnedReader> {
        PinnedReader::new(Arc::clone(&self.core), self.id, low, high)
    }

    /// As [`Group::entries`], without I/O: `None` unless memory has all payloads that it would return.
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
        read::entries_in_memory(&core.groups, &core.pins, &core.tail, wanted)
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

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("id", &self.id).finish_non_exhaustive()
    }
}
