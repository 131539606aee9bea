//! Lists the damage that a refusal names: every damaged range and what is wrong there.
//!
//! Pure functions, called after the decision has found that there is damage.

use super::log_evidence::LogEvidence;
use super::lost_files::{lost, missing};
use crate::damage::{Damage, DamageKind};
use crate::options::UnexplainedTail;
use crate::types::{Lsn, PriorContents};

impl LogEvidence<'_> {
    /// Whether the bytes at `x` are suspect. A sector that was in flight at a crash is old or new. Where the old
    /// sectors are zeros, bytes that are neither zero nor part of a torn group cannot come from a crash.
    ///
    /// # Errors
    /// The suspect range, if they are suspect and `policy` refuses them.
    pub(super) fn check_suspect(&self, x: Lsn, policy: UnexplainedTail) -> Result<bool, Vec<Damage>> {
        let Some(scan) = self.segments.get(&x.segment()) else { return Ok(false) };
        if !scan.header.is_ok_and(|h| h.prior == PriorContents::Zeros) {
            return Ok(false);
        }
        let suspect = match self.head_at(x.segment(), x.offset()) {
            Some(head) => head.fault.is_some() && !head.zero_sector,
            None => scan.unexplained_blocks.binary_search(&x.offset()).is_ok(),
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
