//! Decides in degraded mode: quarantines damaged ranges and continues the log after them (INV-5).
//!
//! # The argument
//!
//! Strict mode refused the log, so a position x holds no valid group and the watermark W lies above x: acknowledged
//! bytes at x are lost. The log can still be used if nothing but those bytes is in doubt:
//!
//! 1. *The chain is certain.* Every group of a segment names the end of the log before the segment. If the first
//!    group is damaged and W shows that it was acknowledged, then the segment belongs to the log, and its other
//!    groups name the same link. A missing file, a bad header or a segment without any head leaves the chain
//!    uncertain, and the log is refused.
//! 2. *The position at which the log continues after damage is certain.* After a head whose body is damaged, the log
//!    continues at the end that the head states: the head has its own checksum. Where the head is lost, the log
//!    continues at the next head of the segment, since below W and below the segment's limit there are only groups of
//!    the log, end to end. After the last head of a segment that the log has left, it continues at the limit, which
//!    the next segment of the chain names.
//! 3. *The end is certain.* The walk ends at the first position at or above W that holds no valid group, as in strict
//!    mode, and the last thing that it passed was a valid group. So the end e is the end of a group, W <= e, and
//!    groups that are appended after it take e as their `previous_end`. Damage that reaches the end is refused,
//!    because nothing shows what followed it. A group that the scan left unchecked is refused as well, because it may
//!    be valid.
//!
//! Recovery does not repair the damage: the log never writes to damaged ranges, adds no group and no footer to the
//! segment that holds them, and every later group carries a watermark above them. A strict open still refuses the log
//! with the same ranges.

use super::decision::Verdict;
use super::log_evidence::{ChainWalk, Links, LogEvidence, gather};
use crate::damage::Damage;
use crate::format::GroupFault;
use crate::options::UnexplainedTail;
use crate::recovery::evidence::SegmentScan;
use crate::types::Lsn;

/// Decides over a log that strict mode refuses; `None` if some damage cannot be quarantined.
pub(super) fn decide(
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
    closed: Lsn,
) -> Option<Verdict> {
    let evidence = gather(segments, block_bytes, closed).ok()?;
    let mut below = evidence.touched.checked_add(1)?;
    loop {
        let top = evidence.touched_below(below)?;
        match evidence.chain(top, Links::Any) {
            Ok(chain) => return evidence.conclude(evidence.walk_past_damage(chain)?, policy).ok(),
            // As in strict mode: nothing shows that the segment ever became part of the log.
            Err(unlinked) => {
                let x = Lsn::new(unlinked, block_bytes);
                if evidence.watermark > x {
                    return None;
                }
                evidence.check_suspect(x, policy).ok()?;
                below = unlinked;
            }
        }
    }
}

impl LogEvidence<'_> {
    /// As [`LogEvidence::walk`], but passes damage if it is certain where the log continues after it.
    fn walk_past_damage(&self, chain: Vec<(u32, u32)>) -> Option<ChainWalk> {
        let mut walk = ChainWalk { chain, ..ChainWalk::default() };
        let mut proven = false;
        'chain: for (i, &(segment, limit)) in walk.chain.iter().enumerate() {
            let left = i + 1 < walk.chain.len();
            if left && limit > self.file_bytes(segment) {
                return None;
            }
            let bound = limit.min(self.file_bytes(segment));
            let mut at = self.block_bytes;
            while at < limit {
                walk.x = Lsn::new(segment, at);
                if let Some(head) = self.valid(segment, at, limit) {
                    walk.kept.push((segment, *head));
                    (at, proven) = (head.end, true);
                    continue;
                }
                if self.is_unchecked(walk.x) {
                    return None;
                }
                if self.watermark <= walk.x {
                    break 'chain;
                }
                let to = Lsn::new(segment, self.continues_at(segment, at, bound, left)?);
                walk.quarantined.push(Damage { from: walk.x, to, what: self.fault_at(walk.x) });
                (at, proven) = (to.offset(), false);
            }
            walk.x = Lsn::new(segment, at);
        }
        (proven && self.watermark <= walk.x).then_some(walk)
    }

    /// Whether the scan left the group at `x` unchecked, so that it may be valid.
    fn is_unchecked(&self, x: Lsn) -> bool {
        let head = self.head_at(x.segment(), x.offset());
        head.is_some_and(|head| head.fault == Some(GroupFault::Unchecked))
    }

    /// Where the log continues after the damaged group at `at`, at most at `bound`; `left` is whether the log left
    /// the segment at `bound`.
    fn continues_at(&self, segment: u32, at: u32, bound: u32, left: bool) -> Option<u32> {
        match self.head_at(segment, at) {
            Some(head) => (head.end > at && head.end <= bound).then_some(head.end),
            None => self.next_head(segment, at, bound).or_else(|| left.then_some(bound)),
        }
    }
}
