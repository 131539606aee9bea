//! Which snapshots a node may start from: a pure decision over what the log says.
//! Place on the data's way: asked by `open` for every snapshot in the directory, the newest first. Invariants: what is
//! named has no gap to the log and stands for entries that the log has, or had, committed. Nothing here fails.
//!
//! A marker is written only when its snapshot is published and verified, in one record with the start of the log if it
//! was installed. So a file that no marker speaks of may be ahead of the log, or of another history: it does not
//! count, however new and sound it is. Below the newest marker everything is committed, so there the term of the log's
//! own entry tells as much as a marker does; the log remembers only two of those.

use seawall_snap::SnapshotId;

use crate::types::SnapshotMarker;

/// Which content a snapshot must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Whatever checks.
    Any,
    /// One of which the digest's first bytes are these.
    Digest(u64),
}

/// Whether the log names `id`, and with which content. `markers` are the log's, the newest first; `point` is its
/// compaction point, `term` what it knows of its entries' terms.
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

/// What a marker says of a digest; never 0, which says nothing.
pub(super) fn short(digest: &[u8; 32]) -> u64 {
    digest.first_chunk::<8>().map_or(1, |first| u64::from_le_bytes(*first)).max(1)
}

/// Up to which index the log may go: `markers`, the newest first, with whether each snapshot was verified; the last
/// `behind` of those that were stay reachable, and entries down to `catch_up` stay for slow followers.
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
        // The log has entries 5 to 40, those from 25 on of term 3; the compaction point is 4.
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
