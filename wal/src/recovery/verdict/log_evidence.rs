//! The evidence of all segments together: the chain of segments that form the log, and a walk along it.

use super::lost_files::{bad_header, missing};
use crate::damage::{Damage, DamageKind};
use crate::format::HeaderFault;
use crate::recovery::evidence::{GroupHead, SegmentScan};
use crate::segment::names::SEQUENCE_MAX;
use crate::types::{Lsn, PriorContents};
use std::collections::BTreeMap;

/// The scanned segments and the values that the decision derives from all of them.
pub(super) struct LogEvidence<'a> {
    pub(super) segments: BTreeMap<u32, &'a SegmentScan>,
    pub(super) low: u32,
    /// Largest watermark of all heads and of the end of the last clean close.
    pub(super) watermark: Lsn,
    /// Highest segment with a head; 0 if no segment has one.
    pub(super) touched: u32,
    /// Highest segment that is not as it was prepared: it has a head, or remains of a write whose head was lost. The
    /// log does not continue in such a segment, because the remains would make the next torn write look suspect.
    pub(super) used: u32,
    /// Largest `first_live` of the segment headers.
    pub(super) first_live: u32,
    pub(super) block_bytes: u32,
}

/// The result of a walk along the chain.
#[derive(Default)]
pub(super) struct ChainWalk {
    pub(super) kept: Vec<(u32, GroupHead)>,
    /// Damaged ranges that the walk passed; empty in strict mode.
    pub(super) quarantined: Vec<Damage>,
    /// First position that holds no valid group and was not passed.
    pub(super) x: Lsn,
    /// The chain: each segment with the offset at which the log left it.
    pub(super) chain: Vec<(u32, u32)>,
}

pub(super) fn gather(
    segments: &[SegmentScan],
    block_bytes: u32,
    closed: Lsn,
) -> Result<LogEvidence<'_>, Vec<Damage>> {
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
    Ok(evidence_of(by_number, low, block_bytes, closed))
}

/// Collects the evidence of the segments from `low` on.
pub(super) fn evidence_of(
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
pub(super) enum Links {
    /// The first group only: without it the segment may never have become part of the log.
    First,
    /// If the first group is damaged and the watermark shows that it was acknowledged, any other group.
    Any,
}

impl LogEvidence<'_> {
    pub(super) fn heads(&self, segment: u32) -> &[GroupHead] {
        self.segments.get(&segment).map_or(&[], |s| &s.heads)
    }

    pub(super) fn head_at(&self, segment: u32, offset: u32) -> Option<&GroupHead> {
        let heads = self.heads(segment);
        heads.binary_search_by_key(&offset, |h| h.offset).ok().map(|i| &heads[i])
    }

    pub(super) fn touched_below(&self, limit: u32) -> Option<u32> {
        let reach = self.low..limit.max(self.low);
        self.segments.range(reach).rev().find(|(_, s)| !s.heads.is_empty()).map(|(&n, _)| n)
    }

    /// The end of the log before `segment`: the link of its first group, or else the one that all its groups agree
    /// on.
    pub(super) fn link(&self, segment: u32) -> Option<Lsn> {
        if let Some(first) = self.head_at(segment, self.block_bytes) {
            return Some(first.previous_end);
        }
        let mut links = self.heads(segment).iter().map(|h| h.previous_end);
        let link = links.next()?;
        links.all(|other| other == link).then_some(link)
    }

    /// The chain that ends in segment `top`, ascending, each segment with the offset at which the log left it. `Err`
    /// has the segment whose link is missing.
    pub(super) fn chain(&self, top: u32, links: Links) -> Result<Vec<(u32, u32)>, u32> {
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
    pub(super) fn walk(&self, chain: Vec<(u32, u32)>) -> ChainWalk {
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
        ChainWalk { kept, x, chain, quarantined: Vec::new() }
    }

    /// The valid group at `at`, if it ends at or below `limit`.
    pub(super) fn valid(&self, segment: u32, at: u32, limit: u32) -> Option<&GroupHead> {
        self.head_at(segment, at).filter(|head| head.fault.is_none() && head.end <= limit)
    }

    /// Offset of the first head above `at` and below `bound`.
    pub(super) fn next_head(&self, segment: u32, at: u32, bound: u32) -> Option<u32> {
        let heads = self.heads(segment);
        let after = heads.partition_point(|h| h.offset <= at);
        heads.get(after).map(|h| h.offset).filter(|&offset| offset < bound)
    }

    /// The damage at `x`, which holds no valid group.
    pub(super) fn fault_at(&self, x: Lsn) -> DamageKind {
        let head = self.head_at(x.segment(), x.offset());
        head.and_then(|h| h.fault).map_or(DamageKind::NoGroup, DamageKind::Group)
    }

    /// Length of the segment's file in bytes; 0 without a valid header.
    pub(super) fn file_bytes(&self, segment: u32) -> u32 {
        let header = self.segments.get(&segment).and_then(|s| s.header.ok());
        header.map_or(0, |h| u32::try_from(h.file_bytes).unwrap_or(u32::MAX))
    }
}
