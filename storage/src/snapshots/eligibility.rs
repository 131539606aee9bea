//! Decides which snapshots a node may start from: a pure function of the log's state.
//!
//! An eligible snapshot covers entries that the log has, or had, as committed, and the log has every entry
//! after it. A marker is written only after its snapshot is published and verified; for an installed snapshot,
//! the same record moves the start of the log. A file without a marker may therefore be ahead of the log or
//! belong to another history, and does not count, however new and intact it is. Everything below the newest
//! marker is committed, so there a matching term of the log's own entry is as good as a marker; the log keeps
//! only two markers.

use seawall_snap::SnapshotId;

use crate::types::SnapshotMarker;

/// The content that a snapshot must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Any content that passes its checksums.
    Any,
    /// Content whose digest starts with these 8 bytes.
    Digest(u64),
}

/// Returns the content that snapshot `id` must have, or `None` if the log does not name it. `markers` are those
/// of the log, newest first; `point` is its compaction point; `term` returns the term of an entry, if the log
/// knows it.
pub(super) fn named(
    id: SnapshotId,
    point: u64,
    markers: &[SnapshotMarker],
    term: impl Fn(u64) -> Option<u64>,
) -> Option<Content> {
    let newest = markers.first()?;
    if id.index < point {
        return None;
    }
    match markers.iter().find(|marker| marker.index == id.index) {
        Some(marker) if marker.term != id.term => None,
        Some(SnapshotMarker { digest: 0, .. }) => Some(Content::Any),
        Some(marker) => Some(Content::Digest(marker.digest)),
        None => (id.index <= newest.index && term(id.index) == Some(id.term)).then_some(Content::Any),
    }
}

/// The digest as it is stored in a marker: its first 8 bytes. Never 0, which means that the marker has no
/// digest.
pub(super) fn short(digest: &[u8; 32]) -> u64 {
    digest.first_chunk::<8>().map_or(1, |first| u64::from_le_bytes(*first)).max(1)
}

/// Returns the index up to which the log may be compacted. `markers` are newest first, with whether each
/// snapshot is verified. The log still reaches back to the verified snapshot with `behind` newer verified ones,
/// and keeps the entries after `catch_up(newest index)` for slow followers.
pub(super) fn releasable(
    markers: &[(u64, bool)],
    behind: usize,
    catch_up: impl Fn(u64) -> u64,
) -> Option<u64> {
    let mut verified = markers.iter().filter(|(_, verified)| *verified).map(|(index, _)| *index);
    let newest = markers.first()?.0;
    let floor = verified.nth(behind)?;
    Some(floor.min(catch_up(newest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(index: u64, term: u64, digest: u64) -> SnapshotMarker {
        SnapshotMarker { index, term, digest }
    }

    #[test]
    fn what_the_log_names() {
        let at = |index, term| SnapshotId { group: 1, index, term };
        // The log has entries 5 to 40, from 25 on with term 3; the compaction point is 4.
        let term = |index| (4..=40).contains(&index).then_some(if index < 25 { 2 } else { 3 });
        let markers = [marker(30, 3, 9), marker(20, 2, 0)];
        for (id, expected) in [
            (at(30, 3), Some(Content::Digest(9))),
            (at(30, 2), None),
            (at(20, 2), Some(Content::Any)),
            (at(20, 3), None),
            (at(35, 3), None),
            (at(25, 3), Some(Content::Any)),
            (at(25, 2), None),
            (at(10, 2), Some(Content::Any)),
            (at(4, 2), Some(Content::Any)),
            (at(3, 2), None),
            (at(100, 9), None),
        ] {
            assert_eq!(named(id, 4, &markers, term), expected, "{id}");
        }
        assert_eq!(named(at(10, 2), 4, &[], term), None, "no marker, no snapshot");
        assert_eq!(named(at(20, 2), 22, &markers, term), None, "entries 21 and 22 are gone");
    }

    #[test]
    fn what_the_log_may_lose() {
        let all = |newest| newest;
        let (a, b) = ((30, true), (20, true));
        for (markers, behind, expected) in [
            (&[][..], 0, None),
            (&[a], 0, Some(30)),
            (&[a], 1, None),
            (&[a, b], 1, Some(20)),
            (&[a, b], 0, Some(30)),
            (&[(30, false), b], 1, None),
            (&[(30, false), b], 0, Some(20)),
            (&[a, (20, false)], 1, None),
        ] {
            assert_eq!(releasable(markers, behind, all), expected, "{markers:?} {behind}");
        }
        let markers = [a, b];
        assert_eq!(releasable(&markers, 1, |newest| newest - 4), Some(20));
        assert_eq!(releasable(&markers, 1, |newest| newest - 14), Some(16));
        assert_eq!(releasable(&markers, 0, |newest| newest - 4), Some(26));
    }

    #[test]
    fn a_short_digest_is_never_nothing() {
        assert_eq!(short(&[0; 32]), 1);
        assert_eq!(short(&[7; 32]), 0x0707_0707_0707_0707);
    }
}
