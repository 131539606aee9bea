//! Plain types of snapshots.

use std::fmt;

/// Identifies a snapshot, which covers all entries of a group up to an index. Sorts by group, index, term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotId {
    /// The Raft group.
    pub group: u64,
    /// Index of the last covered entry; never 0.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} at {}/{}", self.group, self.index, self.term)
    }
}

/// Progress of a long operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of content processed so far.
    pub bytes: u64,
    /// Total bytes of content, if known.
    pub total: Option<u64>,
}

/// A snapshot whose name is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// The snapshot.
    pub id: SnapshotId,
    /// Size of the content, in bytes.
    pub raw_bytes: u64,
    /// Size of the file, in bytes.
    pub file_bytes: u64,
    /// BLAKE3 digest of the content.
    pub digest: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_snapshots_of_a_group_sort_last() {
        let id = |group, index, term| SnapshotId { group, index, term };
        let mut ids = [id(2, 1, 1), id(1, 10, 2), id(1, 9, 3), id(1, 10, 3)];
        ids.sort_unstable();
        assert_eq!(ids, [id(1, 9, 3), id(1, 10, 2), id(1, 10, 3), id(2, 1, 1)]);
        assert_eq!(ids[0].to_string(), "group 1 at 9/3");
    }
}
