//! Decides in salvage mode: keeps, in order, every valid group that can be found and is not known to be dropped, and
//! lists everything else.
//!
//! Nothing is written to such a log, so its end need not be certain. The walk is that of degraded mode, with these
//! differences where degraded mode refuses:
//!
//! - Files that are missing or have a bad header are passed and listed. Below such a file, and below a segment that
//!   lost the header of its first group, the chain is not known; it resumes at the next lower segment that has a
//!   head. An earlier recovery may have dropped groups there, and the link that shows it may be lost. Salvage cannot
//!   tell, and serves them.
//! - Where neither a head nor a link shows how far damage extends, it is listed up to the watermark, or up to the end
//!   of the file.
//! - Suspect bytes at the end are listed as damage if the policy refuses them.
//!
//! Groups that certainly do not belong to the log are not served: those at or above the link of a later segment,
//! those in segments that the chain skips, and those after a torn group at or above the watermark.

use super::decision::{ResumePoint, Verdict};
use super::log_evidence::{ChainWalk, LogEvidence, evidence_of};
use super::lost_files::lost;
use crate::damage::{Damage, DamageKind};
use crate::options::UnexplainedTail;
use crate::recovery::evidence::SegmentScan;
use crate::segment::names::SEQUENCE_MAX;
use crate::types::Lsn;
use std::collections::BTreeMap;

/// Decides over a log that no other mode opens; `None` if it holds no group at all.
pub(super) fn decide(
    segments: &[SegmentScan],
    block_bytes: u32,
    policy: UnexplainedTail,
    closed: Lsn,
) -> Option<Verdict> {
    let sound = |s: &&SegmentScan| s.header.is_ok() && s.sequence <= SEQUENCE_MAX;
    let sound: BTreeMap<u32, &SegmentScan> = segments.iter().filter(sound).map(|s| (s.sequence, s)).collect();
    let (&low, _) = sound.first_key_value()?;
    let evidence = evidence_of(sound, low, block_bytes, closed);
    let mut walk = evidence.walk_pieces(evidence.pieces());
    let live = walk.kept.iter().map(|(_, h)| h.first_live).max().unwrap_or(0).max(evidence.first_live);
    walk.kept.retain(|&(segment, _)| segment >= live);
    walk.quarantined.retain(|range| range.from.segment() >= live);
    let end = walk.kept.last().map(|(segment, head)| Lsn::new(*segment, head.end))?;
    let next = Lsn::new(walk.x.segment().saturating_add(1), block_bytes);
    let is_suspect = |place: &Lsn| evidence.check_suspect(*place, UnexplainedTail::Drop) == Ok(true);
    let suspect = [walk.x, next].into_iter().find(is_suspect);
    let mut verdict = Verdict {
        kept: evidence.summary(&walk),
        end,
        watermark: evidence.watermark,
        first_live: live,
        next: ResumePoint { read_only: true, ..ResumePoint::in_new(next, end) },
        dropped: evidence.dropped(&walk, suspect.filter(|_| policy == UnexplainedTail::Drop)),
        damaged: walk.quarantined,
    };
    if let (Some(from), UnexplainedTail::Refuse) = (suspect, policy) {
        verdict.damaged.push(Damage { from, to: evidence.extent(from), what: DamageKind::Suspect });
    }
    let all: BTreeMap<u32, &SegmentScan> = segments.iter().map(|s| (s.sequence, s)).collect();
    let after_last = all.last_key_value().map_or(0, |(&n, _)| n.saturating_add(1));
    let mut lost = lost(&all, live, after_last, block_bytes);
    // The whole of such a segment is unreadable.
    lost.iter_mut().for_each(|damage| damage.to = Lsn::new(damage.to.segment(), u32::MAX));
    verdict.damaged.extend(lost);
    verdict.damaged.sort_unstable_by_key(|damage| damage.from);
    Some(verdict)
}

impl LogEvidence<'_> {
    /// The chain as far as it is known, ascending, each segment with the offset at which the log left it; `u32::MAX`
    /// where that is not known.
    fn pieces(&self) -> Vec<(u32, u32)> {
        let mut pieces = Vec::new();
        let mut below = self.touched.saturating_add(1);
        while let Some(top) = self.touched_below(below) {
            below = top;
            let first = Lsn::new(top, self.block_bytes);
            if self.head_at(top, self.block_bytes).is_none() && self.watermark <= first {
                continue;
            }
            let mut limit = u32::MAX;
            while self.segments.contains_key(&below) {
                pieces.push((below, limit));
                // A segment without a head has no link; segments below may still be found.
                let Some(link) = self.link(below) else { break };
                if link.is_zero() {
                    pieces.reverse();
                    return pieces;
                }
                (below, limit) = (link.segment(), link.offset());
            }
        }
        pieces.reverse();
        pieces
    }

    /// Walks from the first group of the lowest piece to the first position at or above the watermark that holds no
    /// valid group.
    fn walk_pieces(&self, chain: Vec<(u32, u32)>) -> ChainWalk {
        let mut walk = ChainWalk { chain, ..ChainWalk::default() };
        'chain: for (i, &(segment, limit)) in walk.chain.iter().enumerate() {
            let last = i + 1 == walk.chain.len();
            let bound = limit.min(self.file_bytes(segment));
            let mut at = self.block_bytes;
            while at < bound {
                walk.x = Lsn::new(segment, at);
                if let Some(head) = self.valid(segment, at, bound) {
                    walk.kept.push((segment, *head));
                    at = head.end;
                    continue;
                }
                if self.watermark <= walk.x {
                    break 'chain;
                }
                let whole =
                    self.head_at(segment, at).map(|head| head.end).filter(|&end| end > at && end <= bound);
                let known = whole.or_else(|| self.next_head(segment, at, bound));
                let acknowledged = self.watermark.offset();
                let here = last && self.watermark.segment() == segment && acknowledged > at;
                let to = known.unwrap_or(if here { acknowledged.min(bound) } else { bound });
                let (from, to) = (walk.x, Lsn::new(segment, to));
                walk.quarantined.push(Damage { from, to, what: self.fault_at(from) });
                at = to.offset();
            }
            walk.x = Lsn::new(segment, at);
        }
        walk
    }
}
