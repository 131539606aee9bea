//! Decides which segments can be accepted by their footer, without reading what lies between their ends: a pure
//! function of the scan (INV-5).
//!
//! # The argument
//!
//! A segment s of which only the ends were read is *proven* if three conditions hold: a segment t of the chain begins
//! with a head whose `previous_end` is (s, p); s has a footer that ends exactly at p and whose group header and tail
//! are valid; and W, the largest watermark of all heads that were read, is at least p. Then the verdict from the ends
//! of s is the verdict from all of s, unless bytes of s rotted:
//!
//! - *Kept.* W >= p, so every group of s below p reached the medium whole. A full scan would find each of them valid
//!   up to p, and t's link says that the kept log ended at p; "s is kept up to p" states the same. If a group rotted
//!   since, a full scan refuses the log; without one, the reader of that group gets the error.
//! - *W.* A group's watermark is at most its own start (a header with a larger one is no head), so the watermarks in
//!   s are at most p, and W is at least p. No group was ever issued after the footer in s: rotation leaves the
//!   segment with the footer, and recovery never continues after one.
//! - *First live.* A group carries the first live segment that was acknowledged when the group was issued, so the
//!   value never falls in log order. The footer is the last group of s and has the largest value of s.
//! - *The end.* The end of the log is not in s but at p or above it, since t has a head. So the decision needs
//!   nothing that only the blocks of s could tell, such as whether zeros follow, or how many bytes its footer will
//!   hold.
//! - *Dropped.* Only a group at or above p could be dropped, and there is none.
//!
//! The link must belong to the chain: a void segment may name another end of s, with a footer over groups that
//! recovery dropped. All other segments are read whole. So are all segments before a log is refused, because a
//! refusal names every damaged range.

use crate::recovery::evidence::{GroupHead, ScanExtent, SegmentScan};
use crate::types::Lsn;
use std::collections::BTreeMap;

/// Numbers of the segments of which only the ends were read and which must be read whole, ascending.
///
/// `segments` may be in any order. The answer holds for these scan results: after more blocks are read it may differ.
pub(crate) fn unproven(segments: &[SegmentScan], block_bytes: u32) -> Vec<u32> {
    let by_number: BTreeMap<u32, &SegmentScan> = segments.iter().map(|s| (s.sequence, s)).collect();
    let mut unproven: BTreeMap<u32, ()> =
        segments.iter().filter(|s| s.extent == ScanExtent::EndsOnly).map(|s| (s.sequence, ())).collect();
    let heads = || segments.iter().flat_map(|s| &s.heads);
    let watermark = heads().map(|h| h.watermark).max().unwrap_or(Lsn::ZERO);
    let first = |s: &SegmentScan| s.heads.first().filter(|h| h.offset == block_bytes).copied();
    // Follow the chain down from the highest touched segment, as the verdict does. Where a link is missing, the
    // verdict continues below or refuses; in both cases everything below is read whole first.
    let mut above = by_number.values().rev().find(|s| !s.heads.is_empty()).copied();
    while let Some(link) = above.and_then(first).map(|h: GroupHead| h.previous_end) {
        let below = by_number.get(&link.segment()).copied();
        if let Some(footer) = below.and_then(SegmentScan::sealing_footer)
            && footer.end == link.offset()
            && watermark >= link
        {
            unproven.remove(&link.segment());
        }
        // Links always lead to lower segments: a header with any other link is no head.
        above = below;
    }
    unproven.into_keys().collect()
}
