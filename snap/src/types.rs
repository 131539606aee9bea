//! Plain types of snapshots. Nothing here can fail.

use std::fmt;

/// What a snapshot stands for: all entries of a group up to an index. Sorted by group, index, term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotId {
    /// The Raft group.
    pub group: u64,
    /// Index of the last entry that is covered; never 0.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} at {}/{}", self.group, self.index, self.term)
    }
}

/// How far long work has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of content done.
    pub bytes: u64,
    /// Bytes of content in all, if that is known.
    pub total: Option<u64>,
}

/// A snapshot that has its name durably.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// What it stands for.
    pub id: SnapshotId,
    /// Bytes of content.
    pub raw_bytes: u64,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// BLAKE3 of the content.
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
