//! Counts what each segment still holds: live entries, the latest small state of groups, reads and writes under way.
//! Decides which segments can be released.
//!
//! A segment with a count above zero is never released, nor is any later one. A guard is taken before its segment
//! could become free, and dropped when the work is done, also on an error.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::types::Location;

/// Approximate bytes that an entry takes in the log in addition to its payload: its place in the part table and in
/// the index, and a share of the record header.
const ENTRY_BYTES: i64 = 64;

/// Changes of the counts, collected while one record is applied.
#[derive(Debug, Default)]
pub(crate) struct UsageDelta(SmallVec<[(u32, UsageCount); 2]>);

/// Live contents of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct UsageCount {
    /// Number of live entries.
    pub(crate) entries: i64,
    /// Approximate bytes that these entries take in the log.
    pub(crate) bytes: i64,
    /// Number of pieces of small state that are the latest of their group.
    pub(crate) states: i64,
}

impl UsageDelta {
    /// Adds (`sign` 1) or removes (`sign` -1) entries.
    pub(crate) fn entries(&mut self, places: &[Location], sign: i64) {
        for run in places.chunk_by(|a, b| a.segment == b.segment) {
            let Some(first) = run.first() else { continue };
            let bytes: i64 = run.iter().map(|at| i64::from(at.length) + ENTRY_BYTES).sum();
            let count = self.at(first.segment);
            count.entries += sign * i64::try_from(run.len()).unwrap_or(i64::MAX);
            count.bytes += sign * bytes;
        }
    }

    /// Adds `entries` entries in `segment` whose payloads have `bytes` bytes together.
    pub(crate) fn run(&mut self, segment: u32, entries: u32, bytes: u64) {
        let count = self.at(segment);
        let entries = i64::from(entries);
        count.entries += entries;
        count.bytes += i64::try_from(bytes).unwrap_or(i64::MAX).saturating_add(entries * ENTRY_BYTES);
    }

    /// Moves one piece of small state from one segment to another; segment 0 stands for none.
    pub(crate) fn state(&mut self, from: u32, to: u32) {
        if from != to {
            if from != 0 {
                self.at(from).states -= 1;
            }
            if to != 0 {
                self.at(to).states += 1;
            }
        }
    }

    fn at(&mut self, segment: u32) -> &mut UsageCount {
        // A record touches few segments, so one of the last entries is nearly always the right one. If a segment is
        // listed twice, the changes are added up when they are settled.
        let from = self.0.len().saturating_sub(4);
        let near = self.0.iter().skip(from).position(|use_| use_.0 == segment).map(|at| at + from);
        let at = near.unwrap_or(self.0.len());
        if near.is_none() {
            self.0.push((segment, UsageCount::default()));
        }
        &mut self.0[at].1
    }
}

#[derive(Debug, Default)]
struct UsageTable {
    counts: BTreeMap<u32, UsageCount>,
    /// Sum of `bytes` of all counts.
    bytes: i64,
    /// Number of reads and writes under way, by the lowest segment that they touch.
    holds: Holds,
}

/// Numbers of reads and writes under way: few pairs of segment and count, ascending by segment.
#[derive(Debug, Default)]
struct Holds(SmallVec<[(u32, u32); 4]>);

impl Holds {
    fn lowest(&self) -> Option<u32> {
        self.0.first().map(|(segment, _)| *segment)
    }

    fn add(&mut self, segment: u32) {
        match self.0.binary_search_by_key(&segment, |hold| hold.0) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => self.0.insert(at, (segment, 1)),
        }
    }

    fn remove(&mut self, segment: u32) {
        let Ok(at) = self.0.binary_search_by_key(&segment, |hold| hold.0) else { return };
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.remove(at);
        }
    }
}

/// How much of the log can be released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Released {
    /// The lowest segment that must be kept.
    pub(crate) floor: u32,
    /// The lowest segment that holds anything, if it is sealed and only small state keeps it.
    pub(crate) only_state: Option<u32>,
    /// Whether the record made entries or small state die.
    pub(crate) freed: bool,
}

/// The counts of all segments, shared by readers and writers.
#[derive(Debug, Default)]
pub(crate) struct SegmentUsage(Mutex<UsageTable>);

/// Keeps a segment and all later ones from being released until it is dropped.
#[derive(Debug)]
pub(crate) struct SegmentGuard<'a> {
    usage: &'a SegmentUsage,
    /// `None` once the segment is no longer held.
    segment: Option<u32>,
}

impl SegmentGuard<'_> {
    /// Adds the changes of one record and stops holding the segment. Returns what can be released then; `active` returns
    /// the segment of the next record.
    pub(crate) fn settle(mut self, uses: &UsageDelta, active: impl FnOnce() -> u32) -> Released {
        let mut table = self.usage.0.lock();
        let freed = table.settle(uses);
        table.unhold(self.segment.take());
        Released { freed, ..table.released(active()) }
    }
}

impl Drop for SegmentGuard<'_> {
    fn drop(&mut self) {
        if self.segment.is_some() {
            self.usage.0.lock().unhold(self.segment);
        }
    }
}

impl UsageTable {
    fn unhold(&mut self, segment: Option<u32>) {
        if let Some(segment) = segment {
            self.holds.remove(segment);
        }
    }

    /// Adds the changes of one record. Returns whether any entry or small state died.
    fn settle(&mut self, uses: &UsageDelta) -> bool {
        let mut freed = false;
        for (segment, change) in &uses.0 {
            let count = self.counts.entry(*segment).or_default();
            count.entries += change.entries;
            count.bytes += change.bytes;
            count.states += change.states;
            self.bytes += change.bytes;
            freed |= change.entries < 0 || change.states < 0;
            if *count == UsageCount::default() {
                self.counts.remove(segment);
            }
        }
        freed
    }

    fn floor(&self, active: u32) -> u32 {
        let counted = self.counts.keys().next().copied().unwrap_or(u32::MAX);
        let held = self.holds.lowest().unwrap_or(u32::MAX);
        active.min(counted).min(held)
    }

    fn released(&self, active: u32) -> Released {
        Released { floor: self.floor(active), only_state: self.only_state(active), freed: true }
    }

    fn only_state(&self, active: u32) -> Option<u32> {
        let (segment, count) = self.counts.first_key_value()?;
        let held = self.holds.lowest().unwrap_or(u32::MAX);
        (count.entries == 0 && *segment < held.min(active)).then_some(*segment)
    }
}

impl SegmentUsage {
    /// Holds the segment that `segment` returns. It is called under the lock of the table, so no release that was
    /// decided on an older value can come in between.
    pub(crate) fn hold(&self, segment: impl FnOnce() -> u32) -> SegmentGuard<'_> {
        let mut table = self.0.lock();
        let segment = segment();
        table.holds.add(segment);
        SegmentGuard { usage: self, segment: Some(segment) }
    }

    /// Adds the changes of one record.
    pub(crate) fn settle(&self, uses: &UsageDelta) {
        self.0.lock().settle(uses);
    }

    /// The lowest segment that must be kept. `active` returns the segment of the next record.
    pub(crate) fn floor(&self, active: impl FnOnce() -> u32) -> u32 {
        let table = self.0.lock();
        table.floor(active())
    }

    /// The lowest segment that holds anything, if it is sealed and only small state keeps it.
    pub(crate) fn only_state(&self, active: impl FnOnce() -> u32) -> Option<u32> {
        let table = self.0.lock();
        table.only_state(active())
    }

    /// How much of the log can be released now. `freed` is set, since anything may have died before.
    pub(crate) fn released(&self, active: impl FnOnce() -> u32) -> Released {
        let table = self.0.lock();
        table.released(active())
    }

    /// The lowest segment that must be kept although it is not the one being written, and what it holds.
    pub(crate) fn blocker(&self, active: impl FnOnce() -> u32) -> Option<(u32, UsageCount)> {
        let table = self.0.lock();
        let counted = table.counts.first_key_value().map(|(segment, _)| *segment);
        let held = table.holds.lowest();
        let lowest = counted.into_iter().chain(held).min().filter(|segment| *segment < active())?;
        Some((lowest, table.counts.get(&lowest).copied().unwrap_or_default()))
    }

    /// The lowest segment that holds anything, and what it holds.
    #[cfg(test)]
    pub(crate) fn lowest(&self) -> Option<(u32, UsageCount)> {
        self.0.lock().counts.first_key_value().map(|(segment, count)| (*segment, *count))
    }

    /// Live contents of each segment, ascending; without segments that hold nothing.
    #[cfg(feature = "fuzz")]
    pub(crate) fn counts(&self) -> Vec<(u32, UsageCount)> {
        self.0.lock().counts.iter().map(|(segment, count)| (*segment, *count)).collect()
    }

    /// The lowest segment that holds anything, if it is sealed and holds entries; and the live bytes of all segments.
    pub(crate) fn movable(&self, active: impl FnOnce() -> u32) -> Option<(u32, u64)> {
        let table = self.0.lock();
        let (segment, count) = table.counts.first_key_value()?;
        let bytes = u64::try_from(table.bytes).unwrap_or(0);
        (count.entries > 0 && *segment < active()).then_some((*segment, bytes))
    }

    /// Number of live entries in all segments.
    pub(crate) fn live_entries(&self) -> u64 {
        let sum: i64 = self.0.lock().counts.values().map(|count| count.entries).sum();
        u64::try_from(sum).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u32) -> Location {
        Location { segment, ..Location::default() }
    }

    #[test]
    fn the_floor_is_the_lowest_of_counts_holds_and_the_active_segment() {
        let usage = SegmentUsage::default();
        assert_eq!(usage.floor(|| 9), 9);
        let mut uses = UsageDelta::default();
        uses.entries(&[at(3)], 1);
        uses.state(0, 3);
        uses.state(0, 5);
        usage.settle(&uses);
        assert_eq!((usage.floor(|| 9), usage.only_state(|| 9)), (3, None));

        let mut uses = UsageDelta::default();
        uses.entries(&[at(3)], -1);
        uses.entries(&[at(6)], 1);
        usage.settle(&uses);
        assert_eq!((usage.floor(|| 9), usage.only_state(|| 9)), (3, Some(3)));
        assert_eq!(usage.only_state(|| 3), None, "the active segment is not moved out of");
        {
            let _read = usage.hold(|| 2);
            assert_eq!((usage.floor(|| 9), usage.only_state(|| 9)), (2, None));
            assert_eq!(usage.blocker(|| 9), Some((2, UsageCount::default())));
            assert_eq!(usage.blocker(|| 2), None);
        }
        let mut uses = UsageDelta::default();
        uses.state(3, 7);
        usage.settle(&uses);
        assert_eq!((usage.floor(|| 9), usage.only_state(|| 9)), (5, Some(5)));
        assert_eq!(usage.lowest(), Some((5, UsageCount { states: 1, ..UsageCount::default() })));
        assert_eq!(usage.live_entries(), 1);
    }
}
