//! What degraded mode makes of damage: it is fenced off, and the log goes on behind it (INV-5).
//!
//! # The argument
//!
//! Strict mode refused, so a position x holds no valid group and the watermark W lies beyond it: what stood
//! there was acknowledged. The log may be used all the same if nothing about it but those bytes is in doubt:
//!
//! 1. *The chain is certain.* Every group of a segment names the end of the log before the segment. If the
//!    first one is damaged and W says that it was acknowledged, the segment is of the log, and its other
//!    groups name the same link. A file that is missing, a bad header and a segment without a single head
//!    leave the chain open: refused.
//! 2. *Where the log goes on is certain.* Behind a head whose body is damaged it goes on where the head says
//!    the group ends: the head has its own checksum. Where the head is lost, it goes on at the next head of the
//!    segment, since below W and below the segment's limit there is nothing but groups of the log, end to
//!    end. Behind the last head of a segment that the log has left it goes on at the limit, which the next
//!    segment of the chain names.
//! 3. *The end is certain.* The walk ends at the first position at or above W that holds no valid group, as
//!    strict mode's does, and the last thing that it passed was a valid group. So the end e is the end of a
//!    group, W <= e, and what is appended takes e as its `previous_end`. Damage that reaches the end is refused:
//!    nothing shows what followed it. So is a group that the scan left unchecked: it may be a valid one.
//!
//! The damage stays what it was: fenced bytes are never written, the segment that holds them gets no further
//! group and no footer, and every later group carries a watermark beyond them. A strict open goes on refusing
//! with the same ranges.

use super::{ChainWalk, Links, LogEvidence, Verdict, gather};
use crate::damage::{Damage, DamageKind};
use crate::format::GroupFault;
use crate::options::UnexplainedTail;
use crate::recovery::evidence::SegmentScan;
use crate::types::Lsn;

/// Decides over a log that strict mode refuses; `None` if some damage cannot be fenced.
pub(super) fn decide(
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
    closed: Lsn,
) -> Option<Verdict> {
    let facts = gather(segments, block_bytes, closed).ok()?;
    let mut below = facts.touched.checked_add(1)?;
    loop {
        let top = facts.touched_below(below)?;
        match facts.chain(top, Links::Any) {
            Ok(chain) => return facts.conclude(facts.walk_past_damage(chain)?, policy).ok(),
            // As in strict mode: the segment never became part of the log, as far as anything says.
            Err(unlinked) => {
                let x = Lsn::new(unlinked, block_bytes);
                if facts.watermark > x {
                    return None;
                }
                facts.check_suspect(x, policy).ok()?;
                below = unlinked;
            }
        }
    }
}

impl LogEvidence<'_> {
    /// As [`Facts::walk`], past damage behind which the log certainly goes on.
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
                let to = Lsn::new(segment, self.goes_on(segment, at, bound, left)?);
                walk.fences.push(Damage { from: walk.x, to, what: self.fault_at(walk.x) });
                (at, proven) = (to.offset(), false);
            }
            walk.x = Lsn::new(segment, at);
        }
        (proven && self.watermark <= walk.x).then_some(walk)
    }

    /// Whether nobody knows if the group at `x` is valid.
    fn is_unchecked(&self, x: Lsn) -> bool {
        let head = self.head_at(x.segment(), x.offset());
        head.is_some_and(|head| head.fault == Some(GroupFault::Unchecked))
    }

    /// Where the log goes on behind the damaged group at `at`, at most at `bound`; `left` says that this is
    /// where the log left the segment.
    fn goes_on(&self, segment: u32, at: u32, bound: u32, left: bool) -> Option<u32> {
        match self.head_at(segment, at) {
            Some(head) => (head.end > at && head.end <= bound).then_some(head.end),
            None => self.next_head(segment, at, bound).or_else(|| left.then_some(bound)),
        }
    }

    /// Offset of the first head between `at` and `bound`.
    pub(super) fn next_head(&self, segment: u32, at: u32, bound: u32) -> Option<u32> {
        let heads = self.heads(segment);
        let behind = heads.partition_point(|h| h.offset <= at);
        heads.get(behind).map(|h| h.offset).filter(|&offset| offset < bound)
    }

    /// What is wrong at `x`, which holds no valid group.
    pub(super) fn fault_at(&self, x: Lsn) -> DamageKind {
        let head = self.head_at(x.segment(), x.offset());
        head.and_then(|h| h.fault).map_or(DamageKind::NoGroup, DamageKind::Group)
    }

    /// Length of the segment's file; 0 without a sound header.
    pub(super) fn file_bytes(&self, segment: u32) -> u32 {
        let header = self.segments.get(&segment).and_then(|s| s.header.ok());
        header.map_or(0, |h| u32::try_from(h.file_bytes).unwrap_or(u32::MAX))
    }
}
