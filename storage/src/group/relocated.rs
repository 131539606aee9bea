//! Entries that a replay knows only from a copy, because their original segment was released.
//!
//! Only replay fills this; when the group settles, the entries move to the index. There is at most one location for
//! each index. Entries that are cut off the log are cut off here too.

use std::collections::BTreeMap;

use crate::group::segment_usage::UsageDelta;
use crate::types::Location;

/// Term and location of each such entry, by index. Empty in a running engine, where the index has all entries.
#[derive(Debug, Default)]
pub(super) struct Relocated(BTreeMap<u64, (u64, Location)>);

impl Relocated {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(index, _)| *index)
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.last_key_value().map(|(index, _)| *index)
    }

    /// Adds the copy of entry `index`; replaces an earlier copy.
    pub(super) fn put(&mut self, index: u64, term: u64, at: Location, uses: &mut UsageDelta) {
        uses.entries(&[at], 1);
        if let Some((_, before)) = self.0.insert(index, (term, at)) {
            uses.entries(&[before], -1);
        }
    }

    /// Drops the entries from `index` on.
    pub(super) fn truncate(&mut self, index: u64, uses: &mut UsageDelta) {
        for (_, (_, at)) in self.0.split_off(&index) {
            uses.entries(&[at], -1);
        }
    }

    /// Drops the entries below `index`.
    pub(super) fn advance(&mut self, index: u64, uses: &mut UsageDelta) {
        let kept = self.0.split_off(&index);
        for (_, (_, at)) in std::mem::replace(&mut self.0, kept) {
            uses.entries(&[at], -1);
        }
    }

    /// Removes and returns all entries, ascending: index, term and location.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (u64, u64, Location)> + use<> {
        std::mem::take(&mut self.0).into_iter().map(|(index, (term, at))| (index, term, at))
    }
}
