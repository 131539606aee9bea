//! Names of the catalog's files.
//!
//! A name consists of numbers and fixed text, so no name leaves the directory. Names of published snapshots
//! sort like the snapshots. A name that is not exactly what this module would produce is foreign.

use crate::types::SnapshotId;

/// Number of hexadecimal digits of each number.
const DIGITS: usize = 16;

/// Name of the lock file of the directory.
pub(crate) const LOCK: &str = "LOCK";

/// The meaning of a file name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A published snapshot.
    Published(SnapshotId),
    /// A snapshot that is being written; useless after a crash.
    Writing(SnapshotId),
    /// A snapshot that is being received, with the tag of its transfer; a transfer continues after a crash.
    Receiving(SnapshotId, u64),
    /// A damaged snapshot, with its number among the damaged files of that snapshot.
    Damaged(SnapshotId, u32),
}

impl Kind {
    /// Whether the file belongs to a snapshot of `group`.
    pub(crate) fn of_group(&self, group: u64) -> bool {
        let (Kind::Published(id) | Kind::Writing(id) | Kind::Receiving(id, _) | Kind::Damaged(id, _)) = self;
        id.group == group
    }
}

fn stem(id: SnapshotId) -> String {
    format!("{:016x}-{:016x}-{:016x}", id.group, id.index, id.term)
}

pub(crate) fn published(id: SnapshotId) -> String {
    stem(id) + ".snap"
}

pub(crate) fn writing(id: SnapshotId) -> String {
    stem(id) + ".new"
}

pub(crate) fn receiving(id: SnapshotId, tag: u64) -> String {
    format!("{}.{tag:016x}.part", stem(id))
}

/// The name of damaged file `n` of a snapshot, from 0.
pub(crate) fn damaged(id: SnapshotId, n: u32) -> String {
    match n {
        0 => published(id) + ".damaged",
        n => format!("{}.damaged.{n}", published(id)),
    }
}

/// Parses `name`; `None` if it is not one of the catalog's.
pub(crate) fn parse(name: &str) -> Option<Kind> {
    let (stem, suffix) = name.split_once('.')?;
    let mut numbers = stem.split('-').map(number);
    let (group, index, term) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() {
        return None;
    }
    let id = SnapshotId { group, index, term };
    match suffix {
        "snap" => return Some(Kind::Published(id)),
        "new" => return Some(Kind::Writing(id)),
        "snap.damaged" => return Some(Kind::Damaged(id, 0)),
        _ => {}
    }
    if let Some(n) = suffix.strip_prefix("snap.damaged.") {
        let n: u32 = n.parse().ok()?;
        return (n > 0 && damaged(id, n) == name).then_some(Kind::Damaged(id, n));
    }
    let tag = number(suffix.strip_suffix(".part")?)?;
    Some(Kind::Receiving(id, tag))
}

fn number(digits: &str) -> Option<u64> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let exact = digits.len() == DIGITS && digits.bytes().all(lower);
    exact.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_are_parsed_as() {
        let id = SnapshotId { group: 7, index: u64::MAX, term: 3 };
        assert_eq!(published(id), "0000000000000007-ffffffffffffffff-0000000000000003.snap");
        for (name, kind) in [
            (published(id), Kind::Published(id)),
            (writing(id), Kind::Writing(id)),
            (receiving(id, 9), Kind::Receiving(id, 9)),
            (damaged(id, 0), Kind::Damaged(id, 0)),
            (damaged(id, 12), Kind::Damaged(id, 12)),
        ] {
            assert_eq!(parse(&name), Some(kind), "{name}");
            for other in [name.to_uppercase(), format!("{name}x"), format!(" {name}"), name[1..].to_owned()] {
                assert_eq!(parse(&other), None, "{other}");
            }
        }
        for other in ["", ".", "LOCK", "x.snap", "00000001.wal", "..", "-.snap"] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse(&(damaged(id, 1) + "0")), Some(Kind::Damaged(id, 10)));
        assert_eq!(parse(&(damaged(id, 0) + ".01")), None);
    }

    #[test]
    fn names_sort_as_snapshots() {
        let id = |group, index, term| SnapshotId { group, index, term };
        let ids = [id(1, 9, 3), id(1, 10, 2), id(1, 10, 300), id(1, 1 << 40, 1), id(16, 1, 1)];
        assert!(ids.is_sorted() && ids.map(published).is_sorted());
    }
}
