//! The store that the suite checks, as a trait, and the reasons for which it refuses a call.

use crate::types::{ConfState, Entry, HardState};

/// The store of one Raft group, as the suite calls it. The effect of a call must persist across [`Store::reopen`].
pub trait Store: Sized {
    /// Whether [`Store::append`] skips entries at or below the compaction point, as adapters of cores do. Otherwise
    /// it must refuse them with [`Refusal::Compacted`] and change nothing.
    const TRIMS: bool;

    /// Appends consecutive entries. If the first index is at or below the last index, the log is cut off before it.
    ///
    /// # Errors
    /// [`Refusal::Gap`], [`Refusal::Compacted`]; nothing has changed.
    fn append(&mut self, entries: &[Entry]) -> Result<(), Refusal>;

    /// Drops the entries up to and including `index`.
    ///
    /// # Errors
    /// [`Refusal::Compacted`] at or below the compaction point, [`Refusal::Unavailable`] beyond the last index;
    /// nothing has changed.
    fn compact(&mut self, index: u64) -> Result<(), Refusal>;

    /// Makes the log start after a snapshot. A log that has the entry `index` with `term` keeps the later entries;
    /// any other log is discarded.
    ///
    /// # Errors
    /// [`Refusal::OutOfDate`] at or below the compaction point; nothing has changed.
    fn install_snapshot(&mut self, index: u64, term: u64) -> Result<(), Refusal>;

    /// Sets the hard state.
    ///
    /// # Errors
    /// None that the suite expects.
    fn set_hard_state(&mut self, hard: HardState) -> Result<(), Refusal>;

    /// Sets the conf state.
    ///
    /// # Errors
    /// None that the suite expects.
    fn set_conf_state(&mut self, conf: &ConfState) -> Result<(), Refusal>;

    /// Returns the index after the compaction point.
    fn first_index(&self) -> u64;

    /// Returns the index of the last entry, or the compaction point if the log is empty.
    fn last_index(&self) -> u64;

    /// Returns the term of an entry or of the compaction point.
    ///
    /// # Errors
    /// [`Refusal::Compacted`] below the compaction point, [`Refusal::Unavailable`] beyond the last index.
    fn term(&self, index: u64) -> Result<u64, Refusal>;

    /// Returns the entries from `low` up to, but not including, `high`. With `max_bytes`, returns as many as have at
    /// most that total [`Store::size`], but at least one.
    ///
    /// # Errors
    /// [`Refusal::Compacted`] if `low` is at or below the compaction point, [`Refusal::Unavailable`] if the log ends
    /// before `high - 1`.
    fn entries(&self, low: u64, high: u64, max_bytes: Option<u64>) -> Result<Vec<Entry>, Refusal>;

    /// Returns the hard state as last set.
    fn hard_state(&self) -> HardState;

    /// Returns the conf state as last set.
    fn conf_state(&self) -> Option<ConfState>;

    /// Returns the size of an entry for `max_bytes`. Default: the length of its payload in bytes.
    fn size(&self, entry: &Entry) -> u64 {
        entry.payload.len() as u64
    }

    /// Closes the store and opens it again.
    fn reopen(self) -> Self;
}

/// Why a store refused a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The index is at or below the compaction point.
    Compacted,
    /// The index is beyond the last index.
    Unavailable,
    /// The snapshot is not ahead of the compaction point.
    OutOfDate,
    /// The entries leave a gap.
    Gap,
    /// Any other reason; the suite never expects it.
    Other(String),
}
