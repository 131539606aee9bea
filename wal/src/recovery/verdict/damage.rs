//! Lists the damage that a refusal names: every damaged range and what is wrong there.
//!
//! Pure functions, called after the decision has found that there is damage.

use super::LogEvidence;
use crate::damage::{Damage, DamageKind};
use crate::format::HeaderFault;
use crate::options::UnexplainedTail;
use crate::recovery::evidence::SegmentScan;
use crate::types::{Lsn, PriorContents};
use std::collections::BTreeMap;

impl LogEvidence<'_> {
    /// Whether the bytes at `x` are suspect. A sector that was in flight at a crash is old or new. Where the old
    /// sectors are zeros, bytes that are neither zero nor part of a torn group cannot come from a crash.
    ///
    /// # Errors
    /// The suspect range, if they are suspect and `policy` refuses them.
    pub(super) fn check_suspect(&self, x: Lsn, policy: UnexplainedTail) -> Result<bool, Vec<Damage>> {
        let Some(facts) = self.segments.get(&x.segment()) else { return Ok(false) };
        if !facts.header.is_ok_and(|h| h.prior == PriorContents::Zeros) {
            return Ok(false);
        }
        let suspect = match self.head_at(x.segment(), x.offset()) {
            Some(head) => head.fault.is_some() && !head.zero_sector,
            None => facts.unexplained_blocks.binary_search(&x.offset()).is_ok(),
        };
        if suspect && policy == UnexplainedTail::Refuse {
            return Err(vec![Damage { from: x, to: self.extent(x), what: DamageKind::Suspect }]);
        }
        Ok(suspect)
    }

    /// The end of the group at `x`, or the end of the block if no head gives the group's length.
    pub(super) fn extent(&self, x: Lsn) -> Lsn {
        let block = x.offset().saturating_add(self.block_bytes);
        Lsn::new(x.segment(), self.head_at(x.segment(), x.offset()).map_or(block, |head| head.end))
    }

    /// Every range along `chain` from `x` to the watermark that holds no valid group.
    pub(super) fn damage(&self, chain: &[(u32, u32)], x: Lsn) -> Vec<Damage> {
        let mut found = Vec::new();
        for &(segment, limit) in chain.iter().filter(|(s, _)| *s >= x.segment()) {
            let start = if segment == x.segment() { x.offset() } else { self.block_bytes };
            let limit = if segment == self.watermark.segment() {
                limit.min(self.watermark.offset())
            } else if segment > self.watermark.segment() {
                break;
            } else {
                let file = self.segments.get(&segment).and_then(|s| s.header.ok());
                limit.min(file.map_or(u32::MAX, |h| u32::try_from(h.file_bytes).unwrap_or(u32::MAX)))
            };
            let mut at = start;
            while at < limit {
                let head = self.head_at(segment, at);
                if let Some(head) = head
                    && head.fault.is_none()
                {
                    at = head.end;
                    continue;
                }
                let to = self.next_head(segment, at, limit).unwrap_or(limit);
                let what = head.and_then(|h| h.fault).map_or(DamageKind::NoGroup, DamageKind::Group);
                found.push(Damage { from: Lsn::new(segment, at), to: Lsn::new(segment, to), what });
                at = to;
            }
        }
        // Only the `CLOSED` file shows that the log extended beyond the segments that hold groups.
        if self.watermark.segment() > self.touched {
            let from = Lsn::new(self.touched.saturating_add(1), self.block_bytes).max(x);
            found.push(Damage { from, to: self.watermark, what: DamageKind::NoGroup });
        }
        if found.is_empty() {
            found.push(Damage { from: x, to: self.watermark, what: DamageKind::NoGroup });
        }
        found
    }

    /// The files from number `from` up to the lowest one in reach that are missing or have a bad header.
    pub(super) fn gap(&self, from: u32) -> Vec<Damage> {
        let from = from.min(self.low.saturating_sub(1)).max(1);
        let mut gap = lost(&self.segments, from, self.low, self.block_bytes);
        if gap.is_empty() {
            gap.push(missing(from, from));
        }
        gap
    }
}

/// The files with numbers in `from..to` that are missing (each run of them as one range) or have a bad header.
pub(super) fn lost(
    segments: &BTreeMap<u32, &SegmentScan>,
    from: u32,
    to: u32,
    block_bytes: u32,
) -> Vec<Damage> {
    let (mut lost, mut next) = (Vec::new(), from);
    for (&n, facts) in segments.range(from..to.max(from)) {
        if n > next {
            lost.push(missing(next, n - 1));
        }
        if let Err(fault) = facts.header {
            lost.push(bad_header(n, fault, block_bytes));
        }
        next = n.saturating_add(1);
    }
    if next < to {
        lost.push(missing(next, to - 1));
    }
    lost
}

/// The damage of the missing segments `first` to `last`.
pub(super) fn missing(first: u32, last: u32) -> Damage {
    Damage { from: Lsn::new(first, 0), to: Lsn::new(last, u32::MAX), what: DamageKind::Missing }
}

pub(super) fn bad_header(segment: u32, fault: HeaderFault, block_bytes: u32) -> Damage {
    let (from, to) = (Lsn::new(segment, 0), Lsn::new(segment, block_bytes));
    Damage { from, to, what: DamageKind::Header(fault) }
}
