//! Concludes from a walk along the chain: whether its end is the end of the log, where the log continues, what is kept
//! and what is dropped.

use super::decision::{LiveSegment, ResumePoint, Verdict};
use super::log_evidence::{ChainWalk, LogEvidence};
use crate::damage::{Damage, DropReason, Dropped};
use crate::options::UnexplainedTail;
use crate::recovery::evidence::{GroupHead, ScanExtent};
use crate::types::{GroupKind, Lsn, PriorContents};
use std::collections::BTreeMap;

impl LogEvidence<'_> {
    /// Continues directly after the end if nothing that looks like a group follows, otherwise above all segments in
    /// use.
    pub(super) fn resume_after(&self, end: Lsn, last: &GroupHead, walk: &ChainWalk) -> ResumePoint {
        let (segment, offset) = (end.segment(), end.offset());
        let follows = self.used > segment || self.heads(segment).iter().any(|h| h.offset >= offset);
        let scan = self.segments.get(&segment);
        // The remains of a torn write that lost its head would make the next torn write look suspect.
        let clean = scan.is_some_and(|s| match s.header {
            Ok(h) => {
                let room = u64::from(offset) + u64::from(self.block_bytes) <= h.file_bytes;
                room && (h.prior == PriorContents::Stale || s.zeros_from <= offset)
            }
            Err(_) => false,
        });
        // With a footer after the damage, a reader that reads only the ends would take the segment for whole.
        let damaged = walk.quarantined.iter().any(|range| range.from.segment() == segment);
        if !follows && clean && !damaged && last.kind != GroupKind::Footer {
            let here = walk.kept.iter().filter(|(s, _)| *s == segment);
            return ResumePoint {
                at: end,
                previous_end: self.link(segment).unwrap_or(Lsn::ZERO),
                // An announcement is written in parallel with other groups, which it does not cover.
                mark: last.kind != GroupKind::Mark,
                footer_bytes: here.fold(0, |sum, (_, h)| sum.saturating_add(h.footer_bytes)),
                read_only: false,
            };
        }
        let next = self.used.max(segment) + 1;
        ResumePoint::in_new(Lsn::new(next, self.block_bytes), end)
    }

    /// The verdict of an empty log: it starts above all segments in use, and nothing below is live.
    pub(super) fn start_over(&self, first_live: u32) -> Verdict {
        let segment = if self.used == 0 { first_live } else { (self.used + 1).max(first_live) };
        let at = Lsn::new(segment, self.block_bytes);
        let next = ResumePoint::in_new(at, Lsn::ZERO);
        let walk = ChainWalk { x: at, ..ChainWalk::default() };
        Verdict {
            kept: Vec::new(),
            end: Lsn::ZERO,
            watermark: self.watermark,
            first_live: segment,
            next,
            dropped: self.dropped(&walk, None),
            damaged: Vec::new(),
        }
    }

    /// The segments that the walk passed, including those in which it passed only damage.
    pub(super) fn summary(&self, walk: &ChainWalk) -> Vec<LiveSegment> {
        let mut all: BTreeMap<u32, LiveSegment> = BTreeMap::new();
        let groups = walk.kept.iter().map(|(segment, head)| (*segment, head.end, 1));
        let quarantined = walk.quarantined.iter().map(|range| (range.from.segment(), range.to.offset(), 0));
        for (segment, end, groups) in groups.chain(quarantined) {
            let read = self.segments.get(&segment).is_none_or(|s| s.extent != ScanExtent::EndsOnly);
            let kept = all.entry(segment).or_insert(LiveSegment { segment, end, groups: read.then_some(0) });
            kept.end = kept.end.max(end);
            kept.groups = kept.groups.map(|sum| sum + groups);
        }
        all.into_values().collect()
    }

    /// Everything that looks like a group and is not kept.
    pub(super) fn dropped(&self, walk: &ChainWalk, suspect: Option<Lsn>) -> Vec<Dropped> {
        let limits: BTreeMap<u32, u32> = walk.chain.iter().copied().collect();
        let kept = self.summary(walk);
        let kept_to: BTreeMap<u32, u32> = kept.iter().map(|k| (k.segment, k.end)).collect();
        let mut dropped: Vec<Dropped> = Vec::new();
        if let Some(x) = suspect {
            dropped.push(Dropped { from: x, to: self.extent(x), why: DropReason::Suspect });
        }
        let live = kept.first().map_or(walk.x.segment(), |k| k.segment);
        for (&segment, scan) in self.segments.range(live.min(self.touched)..) {
            for head in &scan.heads {
                if kept_to.get(&segment).is_some_and(|&end| head.offset < end) {
                    continue;
                }
                let in_chain = limits.get(&segment).is_some_and(|&limit| head.offset < limit);
                let why = match (in_chain, head.fault) {
                    (false, _) => DropReason::Void,
                    (true, Some(_)) => DropReason::Torn,
                    (true, None) => DropReason::BehindTorn,
                };
                let range = (Lsn::new(segment, head.offset), Lsn::new(segment, head.end));
                dropped.push(Dropped { from: range.0, to: range.1, why });
            }
        }
        dropped
    }

    /// The verdict at the end of `walk`.
    ///
    /// # Errors
    /// Every damaged range, if an acknowledged group is missing, the end is suspect, or a file is missing.
    pub(super) fn conclude(
        &self,
        mut walk: ChainWalk,
        policy: UnexplainedTail,
    ) -> Result<Verdict, Vec<Damage>> {
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
        walk.quarantined.retain(|range| range.from.segment() >= first_live);
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
            damaged: walk.quarantined,
        })
    }

    /// The verdict on a log of which no group is kept.
    ///
    /// # Errors
    /// As [`LogEvidence::conclude`].
    pub(super) fn nothing_kept(&self, policy: UnexplainedTail) -> Result<Verdict, Vec<Damage>> {
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
