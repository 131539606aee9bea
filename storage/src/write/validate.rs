//! Validates a batch against its groups before anything is written, and decides what its record contains.
//!
//! Validation changes nothing. `GroupState::apply` accepts every operation that passes. Each operation is checked
//! against the state after the operations before it in the batch. Errors name the group and the index (INV-9).

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::{GroupOp, Op};
use crate::group::{GroupState, Locked, hard_state_back};
use crate::types::{CompactionPoint, GroupId, HardState, INDEX_MAX, MetaKey, SnapshotMarker, StateValue};

/// Bytes that each key counts in the size of a group's metadata.
const META_KEY_COST: usize = 64;

/// Returns the operations as they will be recorded, and whether they should become durable as soon as possible.
pub(super) fn validate(
    locked: &Locked<'_>,
    ops: &[GroupOp],
    values: &[StateValue],
    meta_bytes_max: usize,
) -> Result<(SmallVec<[GroupOp; 4]>, bool)> {
    let mut staged: SmallVec<[Staged<'_>; 1]> =
        locked.read().map(|(group, state)| Staged::new(group, state)).collect();
    let mut resolved = SmallVec::with_capacity(ops.len());
    let mut urgent = false;
    let mut values = values.iter();
    for GroupOp { group, op } in ops {
        let value = if op.has_state_value() { values.next() } else { None };
        // Every group of the batch is locked, and the locks are in ascending order.
        let Ok(at) = staged.binary_search_by_key(group, |staged| staged.group) else { continue };
        let Some(staged) = staged.get_mut(at) else { continue };
        urgent |= match op {
            Op::HardState(hard) => (hard.term, hard.vote) != (staged.hard.term, staged.hard.vote),
            Op::Compact(_) | Op::Moved { .. } | Op::Repaired { .. } => false,
            Op::Entries { .. } | Op::ConfState | Op::Start(_) | Op::Remove => true,
            Op::Snapshot(_) | Op::Meta { .. } => true,
        };
        resolved.push(GroupOp { group: *group, op: staged.step(*op, value)? });
    }
    for staged in &staged {
        let (commit, last_index) = (staged.hard.commit, staged.last);
        if commit > last_index {
            return Err(Error::CommitTooHigh { group: staged.group, commit, last_index });
        }
        staged.check_metas(meta_bytes_max)?;
    }
    Ok((resolved, urgent))
}

/// A group as it would be after the operations checked so far.
struct Staged<'a> {
    group: GroupId,
    base: &'a GroupState,
    /// The entries of `base` up to this index are still there.
    kept: u64,
    /// `(first index, term)` of runs of entries in the batch, ascending.
    runs: SmallVec<[(u64, u64); 2]>,
    point: CompactionPoint,
    last: u64,
    hard: HardState,
    /// Marker of the newest snapshot.
    snapshot: Option<SnapshotMarker>,
    /// Metadata that the batch sets, with the size of the value in bytes, or removes (`None`).
    metas: BTreeMap<MetaKey, Option<usize>>,
    /// Whether the batch removed the group, so that nothing of `base` is left.
    removed: bool,
}

impl<'a> Staged<'a> {
    fn new(group: GroupId, base: &'a GroupState) -> Staged<'a> {
        let (kept, point, hard) = (base.last_index(), base.point(), base.hard());
        let (snapshot, metas) = (base.snapshots().next(), BTreeMap::new());
        Staged {
            group,
            base,
            kept,
            runs: SmallVec::new(),
            point,
            last: kept,
            hard,
            snapshot,
            metas,
            removed: false,
        }
    }

    /// Term of `index`, if it is the compaction point or in the log.
    fn term(&self, index: u64) -> Option<u64> {
        if index == self.point.index {
            return Some(self.point.term);
        }
        if index < self.point.index || index > self.last {
            return None;
        }
        if index <= self.kept {
            return self.base.term(index);
        }
        self.runs.iter().rev().find(|run| run.0 <= index).map(|run| run.1)
    }

    /// Checks one operation, applies it to the staged state, and returns it as it will be recorded.
    fn step(&mut self, op: Op, value: Option<&StateValue>) -> Result<Op> {
        match op {
            Op::Entries { first, term, count, packed, .. } => {
                let truncates = self.append(first, term, count)?;
                Ok(Op::Entries { first, term, count, truncates, packed })
            }
            // No user's batch contains this operation: only the engine itself copies entries.
            Op::Moved { first, .. } | Op::Repaired { first, .. } => {
                Err(Error::IndexRange { group: self.group, index: first })
            }
            Op::HardState(hard) => {
                if let Some((field, from, to)) = hard_state_back(&self.hard, &hard) {
                    return Err(Error::HardStateBack { group: self.group, field, from, to });
                }
                self.hard = hard;
                Ok(op)
            }
            Op::ConfState => Ok(op),
            Op::Compact(CompactionPoint { index, .. }) => {
                self.check_above_point(index)?;
                let last_index = self.last;
                let term =
                    self.term(index).ok_or(Error::Unavailable { group: self.group, index, last_index })?;
                self.point = CompactionPoint { index, term };
                Ok(Op::Compact(self.point))
            }
            Op::Start(point) => {
                self.check_above_point(point.index)?;
                let has = self.term(point.index) == Some(point.term);
                self.point = point;
                if has {
                    return Ok(Op::Compact(point));
                }
                self.check_above_snapshot(point.index)?;
                self.cut(0);
                self.last = point.index;
                Ok(Op::Start(point))
            }
            Op::Remove => {
                self.cut(0);
                self.point = CompactionPoint::default();
                self.last = 0;
                self.hard = HardState::default();
                self.snapshot = None;
                self.metas.clear();
                self.removed = true;
                Ok(op)
            }
            Op::Snapshot(marker) => self.mark(marker),
            Op::Meta { key, removes } => {
                let bytes = if let Some(StateValue::Meta(value)) = value { value.len() } else { 0 };
                self.metas.insert(key, (!removes).then_some(bytes));
                Ok(op)
            }
        }
    }

    /// Checks and stages an append; returns whether it replaces entries.
    fn append(&mut self, first: u64, term: u64, count: u32) -> Result<bool> {
        let group = self.group;
        self.check_above_point(first)?;
        let expected = self.last + 1;
        if first > expected {
            return Err(Error::Gap { group, index: first, expected });
        }
        if let Some(before) = self.term(first - 1).filter(|before| *before > term) {
            return Err(Error::TermDecreases { group, index: first, term, before });
        }
        let last = first.saturating_add(u64::from(count) - 1);
        if last > INDEX_MAX {
            return Err(Error::IndexRange { group, index: last });
        }
        self.check_above_snapshot(first)?;
        self.check_keeps_committed(first, last, term)?;
        self.cut(first);
        self.runs.push((first, term));
        self.last = last;
        Ok(first < expected)
    }

    /// Checks that the entries `first..=last` of `term` replace no committed entry of another term, neither in the
    /// log before the batch nor earlier in the batch.
    fn check_keeps_committed(&self, first: u64, last: u64, term: u64) -> Result<()> {
        let (group, commit) = (self.group, self.hard.commit);
        for index in first..=last.min(commit) {
            let before = || self.base.term(index).filter(|_| !self.removed);
            if let Some(known) = self.term(index).or_else(before).filter(|known| *known != term) {
                return Err(Error::Committed { group, index, term, known, commit });
            }
        }
        Ok(())
    }

    fn mark(&mut self, marker: SnapshotMarker) -> Result<Op> {
        let SnapshotMarker { index, term, .. } = marker;
        let (group, point, last_index) = (self.group, self.point.index, self.last);
        if index == 0 {
            return Err(Error::IndexRange { group, index });
        }
        if index < point {
            return Err(Error::Compacted { group, index, point });
        }
        let known = self.term(index).ok_or(Error::Unavailable { group, index, last_index })?;
        if known != term {
            return Err(Error::SnapshotTerm { group, index, term, known });
        }
        if let Some(newest) = self.snapshot.filter(|newest| newest.index > index) {
            return Err(Error::SnapshotBack { group, index, newest: newest.index });
        }
        self.snapshot = Some(marker);
        Ok(Op::Snapshot(marker))
    }

    /// Checks that `index` is above the newest snapshot: what a snapshot covers is committed and cannot be replaced.
    fn check_above_snapshot(&self, index: u64) -> Result<()> {
        match self.snapshot {
            Some(SnapshotMarker { index: newest, .. }) if index <= newest => {
                Err(Error::SnapshotBack { group: self.group, index, newest })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the metadata has at most `max` bytes, or that the batch does not make it larger.
    fn check_metas(&self, max: usize) -> Result<()> {
        if self.metas.is_empty() {
            return Ok(());
        }
        let cost = |(_, bytes): (&MetaKey, usize)| bytes.saturating_add(META_KEY_COST);
        let of_base = || self.base.metas().map(|(key, value)| (key, value.len()));
        let before: usize = of_base().map(cost).sum();
        let kept = of_base().filter(|(key, _)| !self.removed && !self.metas.contains_key(key));
        let set = self.metas.iter().filter_map(|(key, bytes)| Some((key, (*bytes)?)));
        let bytes: usize = kept.chain(set).map(cost).sum();
        if bytes > max && bytes > before {
            return Err(Error::MetaTooLarge { group: self.group, bytes, max });
        }
        Ok(())
    }

    /// Drops the staged entries from `index` on.
    fn cut(&mut self, index: u64) {
        self.kept = self.kept.min(index.saturating_sub(1));
        self.runs.retain(|run| run.0 < index);
    }

    fn check_above_point(&self, index: u64) -> Result<()> {
        let (group, point) = (self.group, self.point.index);
        if index <= point {
            return Err(Error::Compacted { group, index, point });
        }
        if index > INDEX_MAX {
            return Err(Error::IndexRange { group, index });
        }
        Ok(())
    }
}
