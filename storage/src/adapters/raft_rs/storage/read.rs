//! Reads entries of a group in the form of the core, with limits in protobuf bytes as the core measures them.
//!
//! A result that ends early means that the limit was reached; it has at least one entry. Fails with the error
//! of the read, or with [`Error::Entry`] if a payload is not an entry of the core.

use protobuf::Message as _;
use raft::eraftpb::Entry;

use crate::adapters::raft_rs::codec;
use crate::adapters::raft_rs::error::{Error, Result};
use crate::engine::Group;
use crate::types;

/// Reads the entries from `low` up to `high`, excluded, as far as `limit` protobuf bytes allow.
pub(super) fn entries(group: &Group, low: u64, high: u64, limit: Option<u64>) -> Result<Vec<Entry>> {
    let mut taken = Taken::new(limit);
    let mut fault = None;
    // The limit of the engine counts stored bytes, which never exceed the protobuf bytes.
    group.entries_with(low, high, taken.limit, |entry| match decode(group, entry) {
        Ok(entry) => taken.add(entry),
        Err(error) => {
            fault.get_or_insert(error);
            false
        }
    })?;
    fault.map_or(Ok(taken.entries), Err)
}

/// Like [`entries`], without I/O: `None` unless the entries are in memory.
pub(super) fn in_memory(
    group: &Group,
    low: u64,
    high: u64,
    limit: Option<u64>,
) -> Result<Option<Vec<Entry>>> {
    let mut taken = Taken::new(limit);
    let Some(found) = group.entries_in_memory(low, high, taken.limit)? else { return Ok(None) };
    for entry in &found {
        if !taken.add(decode(group, entry)?) {
            break;
        }
    }
    Ok(Some(taken.entries))
}

/// Returns the entries that fit into `limit` protobuf bytes, in order; always the first one.
pub(super) fn limited(entries: impl IntoIterator<Item = Entry>, limit: Option<u64>) -> Vec<Entry> {
    let mut taken = Taken::new(limit);
    let _ = entries.into_iter().all(|entry| taken.add(entry));
    taken.entries
}

fn decode(group: &Group, entry: &types::Entry) -> Result<Entry> {
    let (group, index) = (group.id(), entry.index);
    codec::decode(index, entry.term, &entry.payload).map_err(|source| Error::Entry { group, index, source })
}

/// Collects entries up to a limit in protobuf bytes.
struct Taken {
    limit: Option<u64>,
    bytes: u64,
    entries: Vec<Entry>,
    full: bool,
}

impl Taken {
    fn new(limit: Option<u64>) -> Taken {
        let limit = limit.filter(|limit| *limit != raft::NO_LIMIT);
        Taken { limit, bytes: 0, entries: Vec::new(), full: false }
    }

    /// Adds `entry` if it fits; returns whether it did.
    fn add(&mut self, entry: Entry) -> bool {
        self.bytes = self.bytes.saturating_add(u64::from(entry.compute_size()));
        let fits = self.entries.is_empty() || self.limit.is_none_or(|limit| self.bytes <= limit);
        // A smaller entry after one that did not fit would leave a gap.
        self.full |= !fits;
        if !self.full {
            self.entries.push(entry);
        }
        !self.full
    }
}
