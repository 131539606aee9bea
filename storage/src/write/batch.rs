//! Builds one atomic write over any number of groups.
//!
//! Payloads are copied and their checksums computed here, outside any lock. Operations are applied in the order in
//! which they were added. Building never fails; `Engine::write` returns the first error.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use seawall_wal::RecordBuilder;
use smallvec::SmallVec;

use super::packed::Packed;
use super::parts::first_larger;
use crate::compression::Compressor;
use crate::error::{Error, Result};
use crate::format::{GroupOp, Op, encode_conf_state};
use crate::owner::{OWNER_GROUP, owner_key};
use crate::types::{
    CompactionPoint, ConfState, EntryRef, GroupId, HardState, INDEX_MAX, MetaKey, Owner, SnapshotMarker,
    StateValue,
};

/// One atomic write to any number of groups: after a crash, either all of it is there or nothing.
///
/// A batch is reusable: a successful write leaves it empty and keeps its buffers.
///
/// ```
/// use seawall::{EntryRef, HardState, WriteBatch};
///
/// let mut batch = WriteBatch::new();
/// batch
///     .append(7, &[EntryRef { index: 1, term: 1, payload: b"set x = 1" }])
///     .hard_state(7, HardState { term: 1, vote: 2, commit: 0 });
/// ```
#[derive(Default)]
pub struct WriteBatch {
    record: RecordBuilder,
    /// As requested: validation fills in `truncates` and the terms of compaction points.
    ops: Vec<GroupOp>,
    /// Values of the operations that set small state, in order.
    values: Vec<StateValue>,
    sync: bool,
    fault: Option<Error>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// Appends entries with consecutive indexes. If the first index is at or below the group's last index, the log is
    /// cut off before it.
    ///
    /// `Engine::write` refuses a gap, an index at or below the compaction point and terms that decrease. It refuses
    /// with [`Error::Committed`] an entry at or below the group's commit index whose term differs from that of the
    /// committed entry. The same term is accepted, so that copies from a peer can replace damaged payloads. The
    /// commit index is that of the group's hard state: the engine cannot protect the entries of a group without one.
    pub fn append(&mut self, group: GroupId, entries: &[EntryRef<'_>]) -> &mut WriteBatch {
        let mut before: Option<EntryRef<'_>> = None;
        for entry in entries {
            let expected = before.map_or(entry.index, |before| before.index.saturating_add(1));
            if entry.index != expected {
                self.refuse(Error::Gap { group, index: entry.index, expected });
                break;
            }
            if entry.index > INDEX_MAX {
                self.refuse(Error::IndexRange { group, index: entry.index });
                break;
            }
            if u32::try_from(entry.payload.len()).is_err() {
                let (bytes, max) = (entry.payload.len(), usize::try_from(u32::MAX).unwrap_or(usize::MAX));
                self.refuse(Error::EntryTooLarge { group, index: entry.index, bytes, max });
                break;
            }
            self.record.push_part(entry.payload);
            let follows = before.is_some_and(|before| before.term == entry.term);
            match self.ops.last_mut() {
                Some(GroupOp { op: Op::Entries { count, .. }, .. }) if follows && *count < u32::MAX => {
                    *count += 1;
                }
                _ => {
                    let (first, term) = (entry.index, entry.term);
                    self.push(group, Op::Entries { first, term, count: 1, truncates: false, packed: false });
                }
            }
            before = Some(*entry);
        }
        self
    }

    /// Sets the hard state. The batch becomes durable as soon as possible if the term or the vote changes. A change
    /// of the commit index alone does not cause a write at once: it becomes durable with the next write group, or after
    /// [`seawall_wal::Options::idle_ms`].
    ///
    /// `Engine::write` refuses a term or commit index that decreases, another vote in the same term, and a commit
    /// index that is beyond the last index after the batch.
    pub fn hard_state(&mut self, group: GroupId, hard: HardState) -> &mut WriteBatch {
        self.push(group, Op::HardState(hard))
    }

    /// Sets the conf state.
    ///
    /// `Engine::write` refuses a conf state that is larger than a quarter of a record.
    pub fn conf_state(&mut self, group: GroupId, conf: &ConfState) -> &mut WriteBatch {
        self.record.push_part(&encode_conf_state(conf));
        self.values.push(StateValue::Conf(Arc::new(conf.clone())));
        self.push(group, Op::ConfState)
    }

    /// Drops the entries up to and including `index`; the term of `index` stays known. Does not cause a write at once,
    /// because nothing is lost if a crash undoes it: it becomes durable with the next write group, or after
    /// [`seawall_wal::Options::idle_ms`].
    ///
    /// `Engine::write` refuses an index at or below the compaction point, or beyond the last index.
    pub fn compact(&mut self, group: GroupId, index: u64) -> &mut WriteBatch {
        self.push(group, Op::Compact(CompactionPoint { index, term: 0 }))
    }

    /// Makes the log start after the entry `index` of `term`, which a snapshot covers. If the log has this entry with
    /// this term, it is compacted up to it; otherwise the whole log is discarded. The hard state does not change.
    ///
    /// `Engine::write` refuses an index at or below the compaction point. If the log would be discarded, it also
    /// refuses an index at or below the newest snapshot marker.
    pub fn set_start(&mut self, group: GroupId, index: u64, term: u64) -> &mut WriteBatch {
        self.push(group, Op::Start(CompactionPoint { index, term }))
    }

    /// Records that a published and verified snapshot covers the log up to the marker's entry. The engine keeps the
    /// markers of the two newest snapshots and never lets the log be cut off at or below the newest. To install a
    /// snapshot, use [`WriteBatch::set_start`] and then this, in one batch.
    ///
    /// `Engine::write` refuses an index of 0, an index below the compaction point or below the newest marker, an
    /// index beyond the last index, and a term that differs from that of the entry.
    pub fn snapshot_marker(&mut self, group: GroupId, marker: SnapshotMarker) -> &mut WriteBatch {
        self.push(group, Op::Snapshot(marker))
    }

    /// Sets a metadata value of the user. `key` has 1 to 24 bytes. The value is kept in memory, where
    /// [`Group::meta`](crate::Group::meta) reads it, and is removed with the group.
    ///
    /// `Engine::write` refuses a key of another length, a value that is larger than a quarter of a record, and values
    /// that would make the metadata of the group larger than
    /// [`Options::meta_bytes_max`](crate::Options::meta_bytes_max).
    pub fn put_meta(&mut self, group: GroupId, key: &[u8], value: &[u8]) -> &mut WriteBatch {
        let Some(name) = MetaKey::new(key) else {
            self.refuse(Error::MetaKey { group, bytes: key.len() });
            return self;
        };
        self.record.push_part(value);
        self.values.push(StateValue::Meta(Bytes::copy_from_slice(value)));
        self.push(group, Op::Meta { key: name, removes: false })
    }

    /// Removes a metadata value of the user, if there is one.
    ///
    /// `Engine::write` refuses a key that does not have 1 to 24 bytes.
    pub fn remove_meta(&mut self, group: GroupId, key: &[u8]) -> &mut WriteBatch {
        let Some(name) = MetaKey::new(key) else {
            self.refuse(Error::MetaKey { group, bytes: key.len() });
            return self;
        };
        self.push(group, Op::Meta { key: name, removes: true })
    }

    /// Removes the group with its log and all of its state.
    pub fn remove_group(&mut self, group: GroupId) -> &mut WriteBatch {
        self.push(group, Op::Remove)
    }

    /// Makes the batch durable as soon as possible, whatever it contains.
    pub fn sync(&mut self) -> &mut WriteBatch {
        self.sync = true;
        self
    }

    /// Whether the batch contains no operation.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.record.clear();
        self.ops.clear();
        self.values.clear();
        self.sync = false;
        self.fault = None;
    }

    /// Sets the owner of the log. This is the only operation on the group that holds the owner.
    pub(crate) fn put_owner(&mut self, owner: &Owner) {
        let (value, Some(key)) = (owner.encode(), owner_key()) else { return };
        self.record.push_part(&value);
        self.values.push(StateValue::Meta(Bytes::from(value)));
        self.ops.push(GroupOp { group: OWNER_GROUP, op: Op::Meta { key, removes: false } });
    }

    fn push(&mut self, group: GroupId, op: Op) -> &mut WriteBatch {
        if group == OWNER_GROUP {
            self.refuse(Error::GroupReserved { group });
        }
        self.ops.push(GroupOp { group, op });
        self
    }

    fn refuse(&mut self, fault: Error) {
        self.fault.get_or_insert(fault);
    }

    /// The batch with its payloads compressed; `None` if compression is not worthwhile for any of them.
    pub(super) fn pack(&self, compressor: &Compressor) -> Option<Packed> {
        Packed::new(&self.ops, &self.record, compressor)
    }

    /// Returns an error of the batch that can be found without its groups.
    pub(super) fn check(&self) -> Result<()> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None if self.ops.is_empty() => Err(Error::EmptyBatch),
            None => Ok(()),
        }
    }

    /// The groups of the batch, ascending.
    pub(super) fn groups(&self) -> SmallVec<[GroupId; 4]> {
        let mut groups: SmallVec<[GroupId; 4]> = self.ops.iter().map(|op| op.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    pub(super) fn ops(&self) -> &[GroupOp] {
        &self.ops
    }

    pub(super) fn state_values(&self) -> &[StateValue] {
        &self.values
    }

    /// Whether the record has parts. On a full disk such a record may not use the room that is reserved for control
    /// records.
    pub(crate) fn has_payload(&self) -> bool {
        self.record.part_count() > 0
    }

    pub(super) fn is_sync(&self) -> bool {
        self.sync
    }

    pub(super) fn record(&self) -> &RecordBuilder {
        &self.record
    }

    pub(super) fn record_mut(&mut self) -> &mut RecordBuilder {
        &mut self.record
    }

    /// The error for the first entry that is too large for a record, if there is one.
    pub(super) fn entry_beyond(&self, max: usize) -> Option<Error> {
        let (group, index, bytes) = first_larger(&self.ops, &self.record, max)?;
        Some(Error::EntryTooLarge { group, index, bytes, max })
    }
}

impl fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBatch").field("ops", &self.ops).field("sync", &self.sync).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_term_are_one_operation() {
        let mut batch = WriteBatch::new();
        let terms = [1, 1, 2, 2, 2];
        let entries: Vec<_> =
            (4..).zip(terms).map(|(index, term)| EntryRef { index, term, payload: b"x" }).collect();
        batch.append(9, &entries).append(9, &[]).append(9, &[EntryRef { index: 9, term: 2, payload: b"" }]);
        let run = |first, term, count| GroupOp {
            group: 9,
            op: Op::Entries { first, term, count, truncates: false, packed: false },
        };
        assert_eq!(batch.ops, [run(4, 1, 2), run(6, 2, 3), run(9, 2, 1)]);
        assert_eq!(batch.record.part_count(), 6);
        assert_eq!(batch.groups()[..], [9]);
        batch.clear();
        assert!(batch.is_empty());
        assert!(matches!(batch.check(), Err(Error::EmptyBatch)));
    }

    #[test]
    fn entries_that_do_not_follow_each_other_are_refused() {
        for (second, expected) in [(3, 5), (4, 5), (6, 5)] {
            let mut batch = WriteBatch::new();
            let entry = |index| EntryRef { index, term: 1, payload: b"x" };
            batch.append(1, &[entry(4), entry(second)]);
            let Err(Error::Gap { group: 1, index, expected: next }) = batch.check() else {
                panic!("{second} behind 4")
            };
            assert_eq!((index, next), (second, expected));
        }
        let mut batch = WriteBatch::new();
        batch.append(1, &[EntryRef { index: u64::MAX, term: 1, payload: b"x" }]);
        assert!(matches!(batch.check(), Err(Error::IndexRange { group: 1, index: u64::MAX })));
    }
}
