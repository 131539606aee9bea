//! The terms of one group's entries, stored as runs: one pair for each change of term instead of one number for each
//! entry.
//!
//! The first indexes and the terms of the runs are strictly ascending; a run ends where the next one begins. For an
//! index after the end of the log, `get` returns the term of the last run, so the caller checks the bounds.

use std::collections::VecDeque;

/// Runs of `(first index, term)`.
#[derive(Debug, Default)]
pub(super) struct Terms(VecDeque<(u64, u64)>);

impl Terms {
    /// Term of `index`, which must be in the log.
    pub(super) fn get(&self, index: u64) -> Option<u64> {
        let behind = self.0.partition_point(|run| run.0 <= index);
        self.0.get(behind.checked_sub(1)?).map(|run| run.1)
    }

    /// Term of the last entry.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.back().map(|run| run.1)
    }

    /// Adds entries of `term` from `first` on.
    pub(super) fn push(&mut self, first: u64, term: u64) {
        if self.0.back().is_none_or(|run| run.1 != term) {
            self.0.push_back((first, term));
        }
    }

    /// Drops the entries from `index` on.
    pub(super) fn truncate(&mut self, index: u64) {
        let keep = self.0.partition_point(|run| run.0 < index);
        self.0.truncate(keep);
    }

    /// Drops the entries below `index`.
    pub(super) fn advance(&mut self, index: u64) {
        while self.0.get(1).is_some_and(|next| next.0 <= index) {
            self.0.pop_front();
        }
        if let Some(run) = self.0.front_mut() {
            run.0 = run.0.max(index);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }
}
