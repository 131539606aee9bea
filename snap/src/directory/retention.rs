//! Decides which snapshots may be removed and how far the log may be released: pure functions of the state of
//! one group.
//!
//! A snapshot is removed only if enough newer ones are verified, so undetected damage cannot cost the last good
//! one.

use crate::types::SnapshotId;

/// The state of a published snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) id: SnapshotId,
    /// Whether it was read back in full and found intact since the catalog was opened.
    pub(crate) verified: bool,
    /// Whether a reader or a transfer uses it.
    pub(crate) pinned: bool,
}

/// The snapshots of `known` that have at least `keep` newer verified ones and are not pinned, oldest first.
/// `known` is one group's, in ascending order.
pub(crate) fn replaced(known: &[Known], keep: usize) -> Vec<SnapshotId> {
    let mut newer = 0;
    let mut gone = Vec::new();
    for snapshot in known.iter().rev() {
        if newer >= keep && !snapshot.pinned {
            gone.push(snapshot.id);
        }
        newer += usize::from(snapshot.verified);
    }
    gone.reverse();
    gone
}

/// The verified snapshot of a group that exactly `behind` newer verified snapshots follow.
pub(crate) fn floor(known: &[Known], behind: usize) -> Option<SnapshotId> {
    known.iter().rev().filter(|snapshot| snapshot.verified).nth(behind).map(|snapshot| snapshot.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `v` verified, `p` pinned, `b` both, `-` neither; the oldest first, at index 1.
    fn known(text: &str) -> Vec<Known> {
        let of = |(at, c): (usize, char)| Known {
            id: SnapshotId { group: 1, index: at as u64 + 1, term: 1 },
            verified: "vb".contains(c),
            pinned: "pb".contains(c),
        };
        text.chars().enumerate().map(of).collect()
    }

    #[test]
    fn what_goes() {
        for (text, keep, gone) in [
            ("", 1, &[][..]),
            ("v", 1, &[]),
            ("vv", 1, &[1]),
            ("v-", 1, &[]),
            ("vv-", 1, &[1]),
            ("--v", 1, &[1, 2]),
            ("---", 1, &[]),
            ("vvv", 2, &[1]),
            ("bvv", 2, &[]),
            ("pvbv", 1, &[2]),
            ("vv-v", 2, &[1]),
            ("vvvvvv", 4, &[1, 2]),
        ] {
            let found: Vec<u64> = replaced(&known(text), keep).iter().map(|id| id.index).collect();
            assert_eq!(found, gone, "{text} {keep}");
        }
    }

    #[test]
    fn what_the_log_may_lose() {
        for (text, behind, index) in [
            ("", 0, None),
            ("v", 0, Some(1)),
            ("v", 1, None),
            ("vv-", 1, Some(1)),
            ("v-v-", 1, Some(1)),
            ("-v", 1, None),
        ] {
            assert_eq!(floor(&known(text), behind).map(|id| id.index), index, "{text} {behind}");
        }
    }
}
