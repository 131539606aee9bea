//! One group in memory, and the one function that changes it: `GroupState::apply`.
//!
//! The write path calls it after a record is enqueued, replay for each kept record. In a running engine the index has
//! no gap between the compaction point and the last index, and the commit index is not beyond the last index. A
//! replay that starts after a released prefix may see a gap at first; see `settle`.

use std::sync::Arc;

use bytes::Bytes;

use super::index::{LogIndex, Parts};
use super::terms::Terms;
use crate::error::Fault;
use crate::format::Op;
use crate::group::group_meta::GroupMeta;
use crate::group::relocated::Relocated;
use crate::group::segment_usage::UsageDelta;
use crate::types::{
    CompactionPoint, ConfState, HardState, INDEX_MAX, Location, MetaKey, SnapshotMarker, StateValue,
};

/// State and index of one group.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    point: CompactionPoint,
    log: LogIndex,
    terms: Terms,
    moved: Relocated,
    meta: GroupMeta,
    /// Segment of the record that wrote the compaction point last; 0 if none did.
    point_at: u32,
    end: RangeEnd,
}

/// Whether the end of the log is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum RangeEnd {
    /// The index has the end.
    #[default]
    Known,
    /// Replay started after a released prefix and has not yet seen a record that determines the end. There may have
    /// been entries that are no longer in the log.
    Open,
}

/// Result of replaying a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// Nothing is known of the group: it does not exist.
    Absent,
    /// All records fit together.
    Whole,
    /// The records contradict each other.
    Faulty(Fault),
}

impl GroupState {
    /// A group before the first record of a replay. `released` is whether the log has lost its prefix to releases.
    pub(crate) fn before_replay(released: bool) -> GroupState {
        let end = if released { RangeEnd::Open } else { RangeEnd::Known };
        GroupState { end, log: LogIndex::loading(), ..GroupState::default() }
    }

    /// Whether anything is known of the group.
    pub(crate) fn exists(&self) -> bool {
        !self.log.is_empty() || !self.moved.is_empty() || self.point_at != 0 || self.meta.exists()
    }

    pub(crate) fn point(&self) -> CompactionPoint {
        self.point
    }

    pub(crate) fn first_index(&self) -> u64 {
        self.point.index + 1
    }

    pub(crate) fn last_index(&self) -> u64 {
        if self.log.is_empty() { self.point.index } else { self.log.end() - 1 }
    }

    pub(crate) fn hard(&self) -> HardState {
        self.meta.hard()
    }

    pub(crate) fn conf(&self) -> Option<&Arc<ConfState>> {
        self.meta.conf()
    }

    /// Markers of the two newest snapshots, the newest first.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = SnapshotMarker> {
        self.meta.snapshots()
    }

    pub(crate) fn meta(&self, key: &MetaKey) -> Option<&Bytes> {
        self.meta.meta(key)
    }

    /// All metadata, sorted by key.
    pub(crate) fn metas(&self) -> impl Iterator<Item = (&MetaKey, &Bytes)> {
        self.meta.metas()
    }

    /// Term of `index`, if it is between the compaction point and the last index, both included.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.point.index {
            return Some(self.point.term);
        }
        if self.log.has(index) { self.terms.get(index) } else { None }
    }

    pub(crate) fn location(&self, index: u64) -> Option<Location> {
        self.log.get(index)
    }

    /// Term and location of each entry from `index` on, which must be live.
    pub(crate) fn since(&self, index: u64) -> impl Iterator<Item = (u64, Location)> {
        let (mut runs, mut term) = (self.terms.iter().peekable(), 0);
        // `zip` asks the locations first, so it never computes the index after the last entry, which may overflow.
        self.log.since(index).zip(index..).map(move |(at, index)| {
            while let Some((_, next)) = runs.next_if(|(first, _)| *first <= index) {
                term = next;
            }
            (term, at)
        })
    }

    /// `(first index, term)` of each run of live entries.
    pub(crate) fn term_runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.terms.iter()
    }

    /// A value that depends on the memory that an append changes; reading it brings that memory into the cache.
    pub(crate) fn glance(&self) -> u64 {
        self.log.glance() ^ self.terms.last().unwrap_or(0) ^ self.meta.hard().commit
    }

    /// Number of live entries.
    pub(crate) fn entries(&self) -> usize {
        self.log.len()
    }

    /// The operations that write again the small state last written in segments up to `segment`.
    pub(crate) fn state_up_to(&self, segment: u32) -> impl Iterator<Item = Op> {
        let old = self.point_at != 0 && self.point_at <= segment;
        old.then_some(Op::Compact(self.point)).into_iter().chain(self.meta.up_to(segment))
    }

    /// Applies one operation of a record in `segment`. `parts` are the operation's parts, `value` is the value of
    /// its part if it sets small state. Adds to `uses` what the segments gain and lose.
    ///
    /// In the write path the operation was validated, so this cannot fail. In replay a fault means damage, and the
    /// group is not used afterwards.
    pub(crate) fn apply(
        &mut self,
        op: &Op,
        segment: u32,
        parts: Parts<'_>,
        value: Option<&StateValue>,
        uses: &mut UsageDelta,
    ) -> Result<(), Fault> {
        match *op {
            Op::Entries { first, term, truncates, packed, .. } => {
                self.append(first, term, truncates, &parts.marked(packed), uses)?;
            }
            Op::Moved { first, term, packed, .. } | Op::Repaired { first, term, packed, .. } => {
                self.relocate(first, term, &parts.marked(packed).locations(), uses)?;
            }
            Op::HardState(hard) => self.meta.set_hard(hard, segment, uses)?,
            Op::ConfState => self.meta.set_conf(value, segment, uses)?,
            Op::Meta { key, removes: false } => self.meta.set_meta(key, value, segment, uses)?,
            Op::Meta { key, removes: true } => self.meta.remove_meta(&key, uses),
            Op::Snapshot(marker) => {
                let SnapshotMarker { index, term, .. } = marker;
                if let Some(known) = self.term(index).filter(|known| *known != term) {
                    return Err(Fault::Term { index, term, known });
                }
                if index == 0 || index > INDEX_MAX {
                    return Err(Fault::Index { index, point: self.point.index });
                }
                self.meta.add_snapshot(marker, segment, uses);
            }
            Op::Compact(point) => {
                self.compact(point, uses)?;
                uses.state(self.point_at, segment);
                self.point_at = segment;
            }
            Op::Start(point) => {
                if point.index <= self.point.index || point.index > INDEX_MAX {
                    return Err(self.point_fault(point.index));
                }
                self.clear(point.index.saturating_add(1), uses);
                self.point = point;
                self.end = RangeEnd::Known;
                uses.state(self.point_at, segment);
                self.point_at = segment;
            }
            Op::Remove => {
                self.clear(0, uses);
                self.meta.clear(uses);
                uses.state(self.point_at, 0);
                *self = GroupState::default();
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        first: u64,
        term: u64,
        truncates: bool,
        parts: &Parts<'_>,
        uses: &mut UsageDelta,
    ) -> Result<(), Fault> {
        let fits = first.checked_add(parts.count()).is_some_and(|end| end - 1 <= INDEX_MAX);
        if first <= self.point.index || parts.count() == 0 || !fits {
            return Err(Fault::Index { index: first, point: self.point.index });
        }
        let expected = self.last_index() + 1;
        match self.end {
            RangeEnd::Known if first > expected => return Err(Fault::Gap { expected, found: first }),
            RangeEnd::Known if truncates != (first < expected) => {
                return Err(Fault::Truncation { index: first });
            }
            RangeEnd::Known | RangeEnd::Open => {}
        }
        if let Some(known) = self.term(first - 1).filter(|known| *known > term) {
            return Err(Fault::Term { index: first, term, known });
        }
        if first < expected {
            self.log.truncate(first, |location| uses.entries(&[location], -1));
            self.terms.truncate(first);
        }
        if self.log.is_empty() {
            self.log.restart(first);
            self.terms.clear();
        }
        self.terms.push(first, term);
        self.log.extend(parts);
        match parts {
            Parts::List(locations) => uses.entries(locations, 1),
            Parts::Run(run) => uses.run(run.segment, run.run.count(), run.payload_bytes()),
        }
        self.moved.truncate(first, uses);
        self.end = RangeEnd::Known;
        Ok(())
    }

    /// Sets new locations of entries that were copied. In a running engine all of them are in the index, because the
    /// group is locked while they are copied. In replay, copies of entries whose original segment was released are
    /// kept until the group settles. Copies of entries at or below the compaction point are ignored.
    fn relocate(
        &mut self,
        first: u64,
        term: u64,
        locations: &[Location],
        uses: &mut UsageDelta,
    ) -> Result<(), Fault> {
        let fits = first.checked_add(locations.len() as u64).is_some_and(|end| end - 1 <= INDEX_MAX);
        if first == 0 || locations.is_empty() || !fits {
            return Err(Fault::Index { index: first, point: self.point.index });
        }
        for (at, index) in locations.iter().zip(first..) {
            if index <= self.point.index {
                continue;
            }
            let known = if self.log.has(index) { self.terms.get(index) } else { None };
            if let Some(known) = known {
                if known != term {
                    return Err(Fault::Term { index, term, known });
                }
                if let Some(before) = self.log.replace(index, *at) {
                    uses.entries(&[before], -1);
                    uses.entries(&[*at], 1);
                }
            } else if self.end == RangeEnd::Open || (!self.log.is_empty() && index < self.log.first()) {
                self.moved.put(index, term, *at, uses);
            } else {
                return Err(Fault::Index { index, point: self.point.index });
            }
        }
        self.log.replaced(first..first.saturating_add(locations.len() as u64));
        Ok(())
    }

    /// Moves the copies that came before the entries after them into the index; `false` if they do not close the gap.
    fn adopt(&mut self) -> bool {
        let (from, to) = (self.first_index(), self.moved.last().unwrap_or(0));
        let closed = self.moved.first() == Some(from) && (self.log.is_empty() || self.log.first() == to + 1);
        if !closed {
            return false;
        }
        let (mut log, mut terms) = (LogIndex::default(), Terms::default());
        log.restart(from);
        for (index, term, at) in self.moved.take() {
            if index != log.end() || terms.last().is_some_and(|last| last > term) {
                return false;
            }
            terms.push(index, term);
            log.extend(&Parts::from(&[at][..]));
        }
        for (first, term) in self.terms.iter() {
            if terms.last().is_some_and(|last| last > term) {
                return false;
            }
            terms.push(first, term);
        }
        let rest: Vec<Location> = self.log.since(self.log.first()).collect();
        log.extend(&Parts::from(&rest[..]));
        (self.log, self.terms) = (log, terms);
        true
    }

    /// Live entries in segments up to `segment`, ascending: index, term and location.
    pub(crate) fn entries_up_to(&self, segment: u32) -> impl Iterator<Item = (u64, u64, Location)> {
        self.log.up_to(segment).filter_map(|(index, at)| Some((index, self.terms.get(index)?, at)))
    }

    fn compact(&mut self, point: CompactionPoint, uses: &mut UsageDelta) -> Result<(), Fault> {
        let beyond = self.end == RangeEnd::Known && point.index > self.last_index();
        if point.index < self.point.index || point.index > INDEX_MAX || beyond {
            return Err(self.point_fault(point.index));
        }
        if let Some(known) = self.term(point.index).filter(|known| *known != point.term) {
            return Err(Fault::Term { index: point.index, term: point.term, known });
        }
        self.log.advance(point.index.saturating_add(1), |location| uses.entries(&[location], -1));
        self.moved.advance(point.index.saturating_add(1), uses);
        if self.log.is_empty() {
            self.terms.clear();
        } else {
            self.terms.advance(self.log.first());
        }
        self.point = point;
        Ok(())
    }

    fn clear(&mut self, first: u64, uses: &mut UsageDelta) {
        self.log.truncate(0, |location| uses.entries(&[location], -1));
        self.moved.truncate(0, uses);
        self.log.restart(first);
        self.terms.clear();
    }

    fn point_fault(&self, index: u64) -> Fault {
        Fault::Point { index, from: self.point.index, to: self.last_index() }
    }

    /// Ends the replay of the group: checks that no entry is missing.
    ///
    /// A segment is released only if it holds no live entry and no latest small state. So an entry that replay does
    /// not see falls into one of two cases. Either it was dead when its segment was released: the record that made it
    /// dead is in the kept log, or was released because a later record that is kept had replaced it. Or it was live:
    /// then a copy of it is in the kept log. Therefore a compaction point above the gap, a start, or copies must have
    /// closed the gap by now.
    pub(crate) fn settle(&mut self) -> Settled {
        if !self.exists() {
            return Settled::Absent;
        }
        self.end = RangeEnd::Known;
        self.log.loaded();
        if !self.moved.is_empty() && !self.adopt() {
            // The first gap: before the copies, or after one of them.
            let mut first = self.first_index();
            let copies: Vec<u64> = self.moved.take().map(|(index, ..)| index).collect();
            first += copies.iter().zip(first..).take_while(|(index, next)| **index == *next).count() as u64;
            let last = copies.iter().copied().find(|index| *index > first);
            let last = last.unwrap_or(self.log.first()).saturating_sub(1).max(first);
            return Settled::Faulty(Fault::Missing { first, last });
        }
        if !self.log.is_empty() && self.log.first() != self.first_index() {
            let (first, last) = (self.first_index(), self.log.first() - 1);
            return Settled::Faulty(Fault::Missing { first, last });
        }
        // The log is never cut off below a snapshot, so entries are missing.
        let last = self.last_index();
        if let Some(SnapshotMarker { index, .. }) =
            self.snapshots().next().filter(|newest| newest.index > last)
        {
            return Settled::Faulty(Fault::Missing { first: last + 1, last: index });
        }
        Settled::Whole
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
