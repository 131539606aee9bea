//! Decides where the log ends and what is damaged: a pure function of the results of the scan (INV-5, INV-6).
//!
//! # The argument
//!
//! Every group carries a *watermark*: the end of the last group that was known to be durable when this one was
//! issued. Let W be the largest watermark of any head in any file, including torn, dropped and unreachable heads. The
//! end that a clean close recorded counts as one more watermark. W is a lower bound of what was acknowledged: bytes
//! below W reached the medium, so if they fail their checksum now, they rotted. Bytes at or above W may be the
//! remains of a write that a crash cut short. It follows:
//!
//! 1. Follow `previous_end` down from the highest touched segment, that is, the highest one with a head. This gives
//!    the *chain*. Segments that the chain skips, and bytes at or above a `previous_end`, were dropped by an earlier
//!    recovery and are void. A segment whose first group is gone has no link. If W lies above that group's position,
//!    the group was acknowledged, and its loss is damage. Otherwise the search continues at the next touched segment
//!    below.
//! 2. Walk the chain upward to the first position x that holds no valid group. If W > x, that is damage. Otherwise
//!    the log ends after the last valid group, and nothing after that was ever acknowledged.
//! 3. The chain must reach down to the first live segment. Otherwise a file is missing.
//! 4. The log continues directly after its end only if no head is at or after that position in any file. Otherwise it
//!    continues in the first segment number above every touched one, so that a dropped group can never become the
//!    continuation of a log to which it does not belong.
//!
//! The rules were checked by exhaustive enumeration of crashes and faults of small logs. A sealed segment may be
//! represented by its two ends alone, if `footer_proof` finds that they suffice. `verdict/degraded.rs` and
//! `verdict/salvage.rs` describe how the other modes treat damage.

mod damage;
mod degraded;
mod outcome;
mod salvage;

use crate::damage::{Damage, DamageKind, Dropped};
use crate::format::HeaderFault;
use crate::options::{OpenMode, UnexplainedTail};
use crate::recovery::evidence::{GroupHead, SegmentScan};
use crate::segment::SEQUENCE_MAX;
use crate::types::{Lsn, PriorContents};
use damage::{bad_header, missing};
use std::collections::BTreeMap;

/// A segment of the kept log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveSegment {
    /// Number of the segment.
    pub segment: u32,
    /// Offset of the first byte after its last kept group, or after a damaged range that follows that group.
    pub end: u32,
    /// Number of kept groups, without those in damaged ranges. `None` if the segment was accepted by its footer, so
    /// that its groups were not read.
    pub groups: Option<u32>,
}

/// Position at which the log continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResumePoint {
    /// Segment and offset of the next group.
    pub at: Lsn,
    /// Value of `previous_end` in the groups of that segment.
    pub previous_end: Lsn,
    /// Whether open must make a mark durable there before it returns.
    pub mark: bool,
    /// Bytes that the kept records of that segment add to its footer.
    pub footer_bytes: u32,
    /// The log accepts no writes, because the position at which it would continue is not certain.
    pub read_only: bool,
}

impl ResumePoint {
    /// Continues at `at`, in a segment that holds no groups yet.
    fn in_new(at: Lsn, previous_end: Lsn) -> ResumePoint {
        ResumePoint { at, previous_end, mark: true, footer_bytes: 0, read_only: false }
    }
}

/// The result of recovery's decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The kept log in order, without segments below the first live one.
    pub kept: Vec<LiveSegment>,
    /// End of the kept log; [`Lsn::ZERO`] if nothing was kept.
    pub end: Lsn,
    /// Largest watermark of any head, or the end of the last clean close if that is larger.
    pub watermark: Lsn,
    /// Number of the lowest live segment.
    pub first_live: u32,
    /// Where the log continues.
    pub next: ResumePoint,
    /// Ranges that look like groups (or are suspect) and are not kept.
    pub dropped: Vec<Dropped>,
    /// Damaged ranges of the log, ascending, none within another. Empty in strict mode, which refuses the log
    /// instead.
    pub damaged: Vec<Damage>,
}

/// The scanned segments and the values that the decision derives from all of them.
struct LogEvidence<'a> {
    segments: BTreeMap<u32, &'a SegmentScan>,
    low: u32,
    /// Largest watermark of all heads and of the end of the last clean close.
    watermark: Lsn,
    /// Highest segment with a head; 0 if no segment has one.
    touched: u32,
    /// Highest segment that is not as it was prepared: it has a head, or remains of a write whose head was lost. The
    /// log does not continue in such a segment, because the remains would make the next torn write look suspect.
    used: u32,
    /// Largest `first_live` of the segment headers.
    first_live: u32,
    block_bytes: u32,
}

/// The result of a walk along the chain.
#[derive(Default)]
struct ChainWalk {
    kept: Vec<(u32, GroupHead)>,
    /// Damaged ranges that the walk passed; empty in strict mode.
    fences: Vec<Damage>,
    /// First position that holds no valid group and was not passed.
    x: Lsn,
    /// The chain: each segment with the offset at which the log left it.
    chain: Vec<(u32, u32)>,
}

/// Decides in strict mode over `segments`, which may be in any order.
///
/// # Errors
/// Every damaged range.
pub fn decide(
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
) -> Result<Verdict, Vec<Damage>> {
    strict(segments, block_bytes, policy, Lsn::ZERO)
}

/// As [`decide`], with everything below `closed` known durable from the `CLOSED` file.
fn strict(
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
    closed: Lsn,
) -> Result<Verdict, Vec<Damage>> {
    let facts = gather(segments, block_bytes, closed)?;
    if facts.touched == 0 {
        if facts.low > facts.first_live {
            return Err(facts.gap(facts.first_live));
        }
        // A log gets its name only after its first mark is durable, so there was at least one group.
        let from = Lsn::new(facts.first_live, block_bytes);
        let to = Lsn::new(facts.first_live, block_bytes * 2);
        return Err(vec![Damage { from, to, what: DamageKind::NoGroup }]);
    }
    let mut below = facts.touched + 1;
    loop {
        let top = facts.touched_below(below);
        let Some(top) = top else {
            return facts.nothing_kept(policy);
        };
        match facts.chain(top, Links::First) {
            // Segment `broken` has no head at its first block, so its link is unknown.
            Err(broken) => {
                let x = Lsn::new(broken, block_bytes);
                if facts.watermark > x {
                    return Err(facts.damage(&[(broken, u32::MAX)], x));
                }
                facts.check_suspect(x, policy)?;
                below = broken;
            }
            Ok(chain) => {
                let walk = facts.walk(chain);
                return facts.conclude(walk, policy);
            }
        }
    }
}

/// As [`decide`], with damage treated as `mode` prescribes.
///
/// A log without damage gives the same verdict in every mode.
///
/// # Errors
/// Every damaged range that strict mode names.
pub fn decide_as(
    mode: OpenMode,
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
) -> Result<Verdict, Vec<Damage>> {
    decide_closed(mode, segments, block_bytes, policy, Lsn::ZERO)
}

/// As [`decide_as`], with everything below `closed` known durable from the `CLOSED` file.
pub fn decide_closed(
    mode: OpenMode,
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
    closed: Lsn,
) -> Result<Verdict, Vec<Damage>> {
    let damage = match strict(segments, block_bytes, policy, closed) {
        Ok(verdict) => return Ok(verdict),
        Err(damage) => damage,
    };
    let fenced = || degraded::decide(segments, block_bytes, policy, closed);
    let verdict = match mode {
        OpenMode::Strict => None,
        OpenMode::Degraded => fenced(),
        OpenMode::Salvage => fenced().or_else(|| salvage::decide(segments, block_bytes, policy, closed)),
    };
    verdict.ok_or(damage)
}

/// As [`decide`], for a log that is being created and whose segments hold no groups.
pub(crate) fn decide_fresh(segments: &[SegmentScan], block_bytes: u32) -> Result<Verdict, Vec<Damage>> {
    gather(segments, block_bytes, Lsn::ZERO)?.nothing_kept(UnexplainedTail::Refuse)
}

fn gather(segments: &[SegmentScan], block_bytes: u32, closed: Lsn) -> Result<LogEvidence<'_>, Vec<Damage>> {
    let by_number: BTreeMap<u32, &SegmentScan> = segments.iter().map(|s| (s.sequence, s)).collect();
    let Some((&top, newest)) = by_number.last_key_value() else {
        return Err(vec![missing(1, 1)]);
    };
    // A header is durable before the file gets its name, so a bad header is never an unfinished spare.
    if let Err(fault) = newest.header {
        return Err(vec![bad_header(top, fault, block_bytes)]);
    }
    if top > SEQUENCE_MAX {
        return Err(vec![bad_header(top, HeaderFault::Sequence(top), block_bytes)]);
    }
    let sound = |n: u32| by_number.get(&n).is_some_and(|s| s.header.is_ok());
    let mut low = top;
    while low > 1 && sound(low - 1) {
        low -= 1;
    }
    Ok(facts_of(by_number, low, block_bytes, closed))
}

/// Collects the evidence of the segments from `low` on.
fn facts_of(
    by_number: BTreeMap<u32, &SegmentScan>,
    low: u32,
    block_bytes: u32,
    closed: Lsn,
) -> LogEvidence<'_> {
    let remains = |s: &SegmentScan| {
        s.header.is_ok_and(|h| h.prior == PriorContents::Zeros) && s.zeros_from > block_bytes
    };
    let in_reach = || by_number.range(low..).map(|(_, s)| *s);
    let heads = || in_reach().flat_map(|s| s.heads.iter().map(move |h| (s.sequence, h)));
    LogEvidence {
        low,
        watermark: heads().map(|(_, h)| h.watermark).max().unwrap_or(Lsn::ZERO).max(closed),
        touched: heads().map(|(n, _)| n).max().unwrap_or(0),
        used: in_reach().filter(|s| !s.heads.is_empty() || remains(s)).map(|s| s.sequence).max().unwrap_or(0),
        first_live: in_reach().filter_map(|s| s.header.ok()).map(|h| h.first_live).max().unwrap_or(1).max(1),
        segments: by_number,
        block_bytes,
    }
}

/// Which groups of a segment may provide its link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    /// The first group only: without it the segment may never have become part of the log.
    First,
    /// If the first group is damaged and the watermark shows that it was acknowledged, any other group.
    Any,
}

impl LogEvidence<'_> {
    fn heads(&self, segment: u32) -> &[GroupHead] {
        self.segments.get(&segment).map_or(&[], |s| &s.heads)
    }

    fn head_at(&self, segment: u32, offset: u32) -> Option<&GroupHead> {
        let heads = self.heads(segment);
        heads.binary_search_by_key(&offset, |h| h.offset).ok().map(|i| &heads[i])
    }

    fn touched_below(&self, limit: u32) -> Option<u32> {
        let reach = self.low..limit.max(self.low);
        self.segments.range(reach).rev().find(|(_, s)| !s.heads.is_empty()).map(|(&n, _)| n)
    }

    /// The end of the log before `segment`: the link of its first group, or else the one that all its groups agree
    /// on.
    fn link(&self, segment: u32) -> Option<Lsn> {
        if let Some(first) = self.head_at(segment, self.block_bytes) {
            return Some(first.previous_end);
        }
        let mut links = self.heads(segment).iter().map(|h| h.previous_end);
        let link = links.next()?;
        links.all(|other| other == link).then_some(link)
    }

    /// The chain that ends in segment `top`, ascending, each segment with the offset at which the log left it. `Err`
    /// has the segment whose link is missing.
    fn chain(&self, top: u32, links: Links) -> Result<Vec<(u32, u32)>, u32> {
        let mut chain = vec![(top, u32::MAX)];
        let mut segment = top;
        loop {
            let first = Lsn::new(segment, self.block_bytes);
            let any = links == Links::Any && self.watermark > first;
            let link = match self.head_at(segment, self.block_bytes) {
                None if any => self.link(segment),
                head => head.map(|h| h.previous_end),
            };
            let link = link.ok_or(segment)?;
            if link.is_zero() || link.segment() < self.low || link.segment() >= segment {
                chain.reverse();
                return Ok(chain);
            }
            segment = link.segment();
            chain.push((segment, link.offset()));
        }
    }

    /// Walks from the chain's first group to the first position that holds no valid group.
    fn walk(&self, chain: Vec<(u32, u32)>) -> ChainWalk {
        let mut kept = Vec::new();
        let mut x = Lsn::ZERO;
        for (i, &(segment, limit)) in chain.iter().enumerate() {
            let mut at = self.block_bytes;
            let sealed = self.segments.get(&segment).and_then(|s| s.sealing_footer());
            if let Some(footer) = sealed
                && footer.end == limit
            {
                kept.extend(self.heads(segment).iter().map(|head| (segment, *head)));
                at = footer.end;
            }
            while at < limit {
                let Some(head) = self.valid(segment, at, limit) else { break };
                kept.push((segment, *head));
                at = head.end;
            }
            x = Lsn::new(segment, at);
            if at < limit || i + 1 == chain.len() {
                break;
            }
        }
        ChainWalk { kept, x, chain, fences: Vec::new() }
    }

    /// The valid group at `at`, if it ends at or below `limit`.
    fn valid(&self, segment: u32, at: u32, limit: u32) -> Option<&GroupHead> {
        self.head_at(segment, at).filter(|head| head.fault.is_none() && head.end <= limit)
    }

    fn conclude(&self, mut walk: ChainWalk, policy: UnexplainedTail) -> Result<Verdict, Vec<Damage>> {
        if self.watermark > walk.x {
            return Err(self.damage(&walk.chain, walk.x));
        }
        // The missing group may have been the first one of the next segment.
        let next = Lsn::new(walk.x.segment().saturating_add(1), self.block_bytes);
        let mut suspect = None;
        for place in [walk.x, next] {
            if self.check_suspect(place, policy)? {
                suspect = suspect.or(Some(place));
            }
        }
        let first_live = walk.kept.iter().map(|(_, h)| h.first_live).max().unwrap_or(0).max(self.first_live);
        if walk.kept.is_empty() {
            return if self.low > first_live {
                Err(self.gap(first_live))
            } else {
                Ok(self.start_over(first_live))
            };
        }
        let lowest = walk.chain[0].0;
        let link = self.link(lowest).unwrap_or(Lsn::ZERO);
        if !link.is_zero() && link.segment() >= first_live {
            return Err(self.gap(link.segment()));
        }
        walk.kept.retain(|&(segment, _)| segment >= first_live);
        walk.fences.retain(|fence| fence.from.segment() >= first_live);
        let Some(&(last_segment, last)) = walk.kept.last() else {
            return Ok(self.start_over(first_live));
        };
        let end = Lsn::new(last_segment, last.end);
        Ok(Verdict {
            kept: self.summary(&walk),
            end,
            watermark: self.watermark,
            first_live,
            next: self.resume_after(end, &last, &walk),
            dropped: self.dropped(&walk, suspect),
            damaged: walk.fences,
        })
    }

    fn nothing_kept(&self, policy: UnexplainedTail) -> Result<Verdict, Vec<Damage>> {
        let x = Lsn::new(self.first_live, self.block_bytes);
        if self.watermark > x {
            return Err(self.damage(&[(self.first_live, u32::MAX)], x));
        }
        if self.low > self.first_live {
            return Err(self.gap(self.first_live));
        }
        self.check_suspect(x, policy)?;
        Ok(self.start_over(self.first_live))
    }
}

#[cfg(test)]
#[path = "mode_tests.rs"]
mod tests;
