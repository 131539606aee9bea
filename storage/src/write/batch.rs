//! The builder of one atomic write over any number of groups.
//! Place on the data's way: filled by the caller; payloads are copied and their checksums computed here,
//! outside any lock. Invariants: operations are applied in the order in which they were added.
//! Fails: not while it is built; `Engine::write` reports the first thing that was wrong.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use seawall_wal::RecordBuilder;

use super::first_larger;
use super::packed::Packed;
use crate::compression::Compressor;
use crate::error::{Error, Result};
use crate::format::{GroupOp, Op, encode_conf_state};
use crate::owner::{OWNER_GROUP, owner_key};
use crate::types::{
    CompactionPoint, ConfState, EntryRef, GroupId, HardState, INDEX_MAX, MetaKey, Owner, SnapshotMarker,
    StateValue,
};

/// One atomic write: after a crash all of it is there or none.
///
/// Reusable: a successful write leaves it empty with its buffers kept.
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
    /// As asked for: `truncates` and the terms of compaction points are filled in by validation.
    ops: Vec<GroupOp>,
    /// One per operation on small state that has a part, in order.
    smalls: Vec<StateValue>,
    sync: bool,
    fault: Option<Error>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// Appends entries, which must follow each other. At or below the group's last index, the log is cut
    /// off before the first of them.
    ///
    /// Refused on write: a gap, an index at or below the compaction point, terms that decrease; and
    /// [`Error::Committed`], where an entry at or below the group's commit index would get another term than the committed
    /// one has. The same terms are accepted, so that a peer's copies can replace damaged payloads. The commit index is that of
    /// the group's hard state: the engine cannot protect the entries of those who write none.
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

    /// Sets the hard state. Durable as soon as possible if term or vote change; a commit alone rides along.
    ///
    /// Refused on write: a term or commit that goes back, another vote in the same term, a commit beyond
    /// the last index after the batch.
    pub fn hard_state(&mut self, group: GroupId, hard: HardState) -> &mut WriteBatch {
        self.push(group, Op::HardState(hard))
    }

    /// Sets the conf state.
    pub fn conf_state(&mut self, group: GroupId, conf: &ConfState) -> &mut WriteBatch {
        self.record.push_part(&encode_conf_state(conf));
        self.smalls.push(StateValue::Conf(Arc::new(conf.clone())));
        self.push(group, Op::ConfState)
    }

    /// Drops the entries up to and including `index`; its term stays known. Rides along with the next
    /// durable write, because nothing is lost if it is not durable.
    ///
    /// Refused on write: an index at or below the compaction point, or beyond the last index.
    pub fn compact(&mut self, group: GroupId, index: u64) -> &mut WriteBatch {
        self.push(group, Op::Compact(CompactionPoint { index, term: 0 }))
    }

    /// Makes the log start behind an entry that a snapshot covers. A log that has this entry, with this
    /// term, is compacted up to it; any other is discarded. The hard state stays as it is.
    ///
    /// Refused on write: an index at or below the compaction point.
    pub fn set_start(&mut self, group: GroupId, index: u64, term: u64) -> &mut WriteBatch {
        self.push(group, Op::Start(CompactionPoint { index, term }))
    }

    /// Notes that a snapshot which was published and verified covers the log up to the marker's entry; the
    /// engine keeps the markers of the two newest, and never lets the log be cut off below the newest. An
    /// installed snapshot is [`WriteBatch::set_start`] and then this, in one batch.
    ///
    /// Refused on write: an index below the compaction point or the newest marker, or beyond the last index; a
    /// term that is not the entry's.
    pub fn snapshot_marker(&mut self, group: GroupId, marker: SnapshotMarker) -> &mut WriteBatch {
        self.push(group, Op::Snapshot(marker))
    }

    /// Sets a value of the user's own: `key` has 1 to 24 bytes. It is kept in memory, where
    /// [`Group::meta`](crate::Group::meta) reads it, and goes with the group.
    ///
    /// Refused on write: a key of another length; values that would make the group have more than
    /// [`Options::meta_bytes_max`](crate::Options::meta_bytes_max).
    pub fn put_meta(&mut self, group: GroupId, key: &[u8], value: &[u8]) -> &mut WriteBatch {
        let Some(name) = MetaKey::new(key) else {
            self.refuse(Error::MetaKey { group, bytes: key.len() });
            return self;
        };
        self.record.push_part(value);
        self.smalls.push(StateValue::Meta(Bytes::copy_from_slice(value)));
        self.push(group, Op::Meta { key: name, removes: false })
    }

    /// Removes a value of the user's own; there need not be one.
    ///
    /// Refused on write: a key of other than 1 to 24 bytes.
    pub fn remove_meta(&mut self, group: GroupId, key: &[u8]) -> &mut WriteBatch {
        let Some(name) = MetaKey::new(key) else {
            self.refuse(Error::MetaKey { group, bytes: key.len() });
            return self;
        };
        self.push(group, Op::Meta { key: name, removes: true })
    }

    /// Removes the group with everything it has.
    pub fn remove_group(&mut self, group: GroupId) -> &mut WriteBatch {
        self.push(group, Op::Remove)
    }

    /// Makes the batch durable as soon as possible, whatever is in it.
    pub fn sync(&mut self) -> &mut WriteBatch {
        self.sync = true;
        self
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.record.clear();
        self.ops.clear();
        self.smalls.clear();
        self.sync = false;
        self.fault = None;
    }

    /// Says whose log it is; the only operation on the group for that.
    pub(crate) fn put_owner(&mut self, owner: &Owner) {
        let (value, Some(key)) = (owner.encode(), owner_key()) else { return };
        self.record.push_part(&value);
        self.smalls.push(StateValue::Meta(Bytes::from(value)));
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

    /// The batch with its payloads compressed, if that pays for any of them.
    pub(super) fn pack(&self, packer: &Compressor) -> Option<Packed> {
        Packed::new(&self.ops, &self.record, packer)
    }

    /// What is wrong without looking at the groups.
    pub(super) fn check(&self) -> Result<()> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None if self.ops.is_empty() => Err(Error::EmptyBatch),
            None => Ok(()),
        }
    }

    /// The groups of the batch, ascending.
    pub(super) fn groups(&self) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = self.ops.iter().map(|op| op.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    pub(super) fn ops(&self) -> &[GroupOp] {
        &self.ops
    }

    pub(super) fn smalls(&self) -> &[StateValue] {
        &self.smalls
    }

    /// Whether the record has parts: then a full disk leaves it no room that is kept for control records.
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

    /// The error for the first entry that no record could hold, if there is one.
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
        assert_eq!(batch.groups(), [9]);
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
