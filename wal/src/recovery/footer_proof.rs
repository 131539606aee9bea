//! Which segments may be taken on the word of their footer: a pure function of facts (INV-5).
//!
//! # The argument
//!
//! A segment s whose ends alone were read is *proven* if a segment t of the chain begins with a head that
//! says `previous_end` = (s, p), a footer of s, of which group header and tail check, ends exactly at p, and the largest watermark W
//! of all heads read reaches p. Then a verdict over its ends is the one over all of it, unless something
//! in s rotted:
//!
//! - *Kept.* W >= p, so every group of s below p reached the medium, whole. A full scan would find each
//!   of them valid up to p, where t's link says the kept log ended; that is what "kept up to p" says. If one
//!   rotted since, a full scan refuses; here whoever reads it gets the error.
//! - *W.* A group's watermark lies at or below its own start (others are no heads), so those of s are at
//!   most p, and W is not less than p. No group was ever issued behind the footer in s: rotation leaves the
//!   segment with it, and recovery never goes on behind one.
//! - *First live.* Groups carry what was acknowledged when they were issued, so it never falls in log
//!   order. The footer is the last group of s and has the largest value of s.
//! - *The end.* The end of the log is not in s but at p or above it, since t has a head. So nothing is
//!   asked of s that only its blocks tell: whether zeros follow, how much the footer of s will hold.
//! - *Dropped.* What is at or above p would have been dropped, and nothing is.
//!
//! The link must be one of the chain: a void segment may say another end of s, with a footer of groups that
//! recovery dropped. Everything else is read whole, and so is everything before a refusal, which names all
//! damaged places.

use crate::recovery::evidence::{GroupHead, ScanExtent, SegmentScan};
use crate::types::Lsn;
use std::collections::BTreeMap;

/// Numbers of the segments of which only the ends were read and which must be read whole, ascending.
///
/// `segments` in any order. The answer is about the facts as they are: with more of them read it may differ.
pub(crate) fn unproven(segments: &[SegmentScan], block_bytes: u32) -> Vec<u32> {
    let by_number: BTreeMap<u32, &SegmentScan> = segments.iter().map(|s| (s.sequence, s)).collect();
    let mut unproven: BTreeMap<u32, ()> =
        segments.iter().filter(|s| s.extent == ScanExtent::EndsOnly).map(|s| (s.sequence, ())).collect();
    let heads = || segments.iter().flat_map(|s| &s.heads);
    let watermark = heads().map(|h| h.watermark).max().unwrap_or(Lsn::ZERO);
    let first = |s: &SegmentScan| s.heads.first().filter(|h| h.offset == block_bytes).copied();
    // From the highest touched segment down, as recovery follows the chain. Where a link is missing recovery
    // may go on, or refuse: everything below is read first.
    let mut above = by_number.values().rev().find(|s| !s.heads.is_empty()).copied();
    while let Some(link) = above.and_then(first).map(|h: GroupHead| h.previous_end) {
        let below = by_number.get(&link.segment()).copied();
        if let Some(footer) = below.and_then(SegmentScan::sealing_footer)
            && footer.end == link.offset()
            && watermark >= link
        {
            unproven.remove(&link.segment());
        }
        // Links go down: others are no heads.
        above = below;
    }
    unproven.into_keys().collect()
}
