//! Recovery's decision: a pure function of what the scan found (INV-5, INV-6).
//!
//! # The argument
//!
//! Every group carries a *watermark*: the end of the last group known durable when it was issued. The
//! largest watermark W of any head anywhere, even of a torn, dropped or unreachable one, bounds what was
//! acknowledged from below: bytes under W reached the medium, so if they do not check now, they rotted.
//! Bytes at or above W may be the trace of a write that a crash cut short. The end that a clean close wrote down
//! bounds it as well, and counts as one more watermark. So:
//!
//! 1. Follow `previous_end` from the highest touched segment down. That is the *chain*; segments that it
//!    skips, and bytes at or above a `previous_end`, were dropped by an earlier recovery and are void.
//!    A segment whose first group is gone has no link: either W says it was acknowledged, and that is
//!    damage, or the search goes on from the next touched segment below.
//! 2. Walk the chain upward to the first position x that is no valid group. W > x: damage. Else the log
//!    ends behind the last valid group, and everything later was never acknowledged.
//! 3. The chain must reach down to the first live segment, else a file is missing.
//! 4. Go on right behind the end only if no head lies there or later in any file; otherwise in the first
//!    segment number above every touched one, so that a dropped group can never become the continuation
//!    of a log that is not its own.
//!
//! The rules were checked by exhaustive enumeration of crashes and faults of small logs. A sealed segment may
//! come with its ends alone, if `trust` says that they are enough. What the other modes make of damage stands in
//! `verdict/degraded.rs` and `verdict/salvage.rs`.

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
    /// Its number.
    pub segment: u32,
    /// Offset just behind its last kept group, or behind the damage that follows that.
    pub end: u32,
    /// Number of kept groups, those in damaged places left out; not known of a segment that was taken on its
    /// footer's word.
    pub groups: Option<u32>,
}

/// Where the log goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResumePoint {
    /// Segment and offset of the next group.
    pub at: Lsn,
    /// What the groups of that segment carry as `previous_end`.
    pub previous_end: Lsn,
    /// Whether a mark must be durable there before open may return.
    pub mark: bool,
    /// Bytes that the kept records of that segment add to its footer.
    pub footer_bytes: u32,
    /// The log must not go on: where it would have to is not certain.
    pub read_only: bool,
}

impl ResumePoint {
    /// In a segment that holds nothing yet.
    fn in_new(at: Lsn, previous_end: Lsn) -> ResumePoint {
        ResumePoint { at, previous_end, mark: true, footer_bytes: 0, read_only: false }
    }
}

/// What recovery concludes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The kept log in order; segments below the first live one left out.
    pub kept: Vec<LiveSegment>,
    /// End of the kept log; [`Lsn::ZERO`] if nothing was kept.
    pub end: Lsn,
    /// Largest watermark of any head.
    pub watermark: Lsn,
    /// First live segment.
    pub first_live: u32,
    /// Where to go on.
    pub next: ResumePoint,
    /// What was there and is not kept.
    pub dropped: Vec<Dropped>,
    /// Places of the log that are damaged, ascending, none within another. Empty in strict mode, which
    /// refuses them.
    pub damaged: Vec<Damage>,
}

struct LogEvidence<'a> {
    segments: BTreeMap<u32, &'a SegmentScan>,
    low: u32,
    /// Largest watermark over all heads, and the end of the last clean close.
    watermark: Lsn,
    /// Highest segment with a head, 0 if none has.
    touched: u32,
    /// Highest segment that is not as it was prepared: touched, or with remains of a write that lost its
    /// head. Such remains would make the next torn write look suspect, so the log does not go on there.
    used: u32,
    /// Largest `first_live` of the segment headers.
    first_live: u32,
    block_bytes: u32,
}

/// Where the walk ended.
#[derive(Default)]
struct ChainWalk {
    kept: Vec<(u32, GroupHead)>,
    /// Damage that was passed on the way; none if the log must be whole.
    fences: Vec<Damage>,
    /// First position that is no valid group, and not passed.
    x: Lsn,
    /// The chain that was walked: segments, and the offsets at which they are left.
    chain: Vec<(u32, u32)>,
}

/// Decides over `segments`, in any order. `Err` names every damaged place.
pub fn decide(
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
) -> Result<Verdict, Vec<Damage>> {
    strict(segments, block_bytes, policy, Lsn::ZERO)
}

/// [`decide`]; everything below `closed` was durable, as the file of a clean close says.
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
        // A log gets its name when its first mark is durable, so there has been one.
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
            // No head at the first block of `broken`: its link is unknown.
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

/// As [`decide`], with what `mode` makes of damage.
///
/// A log that is whole is the same in every mode. `Err` has the damage that strict mode names: all of it.
pub fn decide_as(
    mode: OpenMode,
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
) -> Result<Verdict, Vec<Damage>> {
    decide_closed(mode, segments, block_bytes, policy, Lsn::ZERO)
}

/// As [`decide_as`], of a log of which everything below `closed` was durable: what the file of a clean close says.
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

/// As [`decide`], over the untouched segments of a log that is being created.
pub(crate) fn decide_fresh(segments: &[SegmentScan], block_bytes: u32) -> Result<Verdict, Vec<Damage>> {
    gather(segments, block_bytes, Lsn::ZERO)?.nothing_kept(UnexplainedTail::Refuse)
}

fn gather(segments: &[SegmentScan], block_bytes: u32, closed: Lsn) -> Result<LogEvidence<'_>, Vec<Damage>> {
    let by_number: BTreeMap<u32, &SegmentScan> = segments.iter().map(|s| (s.sequence, s)).collect();
    let Some((&top, newest)) = by_number.last_key_value() else {
        return Err(vec![missing(1, 1)]);
    };
    // A header is durable before the file has its name, so a bad one is never a half-made spare.
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

/// What is to be known of the segments from `low` on.
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

/// Which groups of a segment are asked where the log came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    /// The first one only: without it the segment may never have become part of the log.
    First,
    /// If the first one is damaged and the watermark says that it was acknowledged, all others.
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

    /// The end of the log before `segment`, which all of its groups name; `None` if they do not agree.
    fn link(&self, segment: u32) -> Option<Lsn> {
        if let Some(first) = self.head_at(segment, self.block_bytes) {
            return Some(first.previous_end);
        }
        let mut links = self.heads(segment).iter().map(|h| h.previous_end);
        let link = links.next()?;
        links.all(|other| other == link).then_some(link)
    }

    /// The chain that ends in segment `top`, ascending, each with the offset at which it is left; or the
    /// segment whose link is missing.
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

    /// From the chain's first group to the first position that is no valid group.
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

    /// The valid group at `at`, if it ends within `limit`.
    fn valid(&self, segment: u32, at: u32, limit: u32) -> Option<&GroupHead> {
        self.head_at(segment, at).filter(|head| head.fault.is_none() && head.end <= limit)
    }

    fn conclude(&self, mut walk: ChainWalk, policy: UnexplainedTail) -> Result<Verdict, Vec<Damage>> {
        if self.watermark > walk.x {
            return Err(self.damage(&walk.chain, walk.x));
        }
        // The group that is missing may have been the first of the next segment, and nothing be behind it.
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
