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
//! 2. Walk the chain upward to the first position x that holds no valid group. If W > x, that is damage. Otherwise the
//!    log ends after the last valid group, and nothing after that was ever acknowledged. Bytes at x, or at the first
//!    group's place in the segment after x, may be *suspect*: where the blocks held zeros, a torn group has a sector of
//!    zeros, and a block without a head starts with one. Other bytes cannot come from a crash. [`UnexplainedTail`]
//!    decides: by default they are damage, else they are dropped.
//! 3. The chain must reach down to the first live segment. Otherwise a file is missing.
//! 4. A segment is *used* if it has a head, or, where its blocks held zeros, the remains of a write whose head was
//!    lost. The log continues directly after its end only if no higher segment is used, neither a head nor such remains
//!    lie at or after that position, the last group is not a footer, a block of room is left, and the segment has no
//!    quarantined range. Otherwise it continues in the first segment number above every used one. So a dropped group
//!    can never become the continuation of a log to which it does not belong, and remains never make the next torn
//!    write look suspect.
//!
//! The rules were checked by exhaustive enumeration of crashes and faults of small logs. A sealed segment may be
//! represented by its two ends alone, if `footer_proof` finds that they suffice. `verdict/degraded.rs` and
//! `verdict/salvage.rs` describe how the other modes treat damage.

mod damage;
mod decision;
mod degraded;
mod log_evidence;
mod lost_files;
mod outcome;
mod salvage;

use crate::damage::{Damage, DamageKind};
use crate::options::{OpenMode, UnexplainedTail};
use crate::recovery::evidence::SegmentScan;
use crate::types::Lsn;
pub use decision::{LiveSegment, ResumePoint, Verdict};
use log_evidence::{Links, gather};

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
    let evidence = gather(segments, block_bytes, closed)?;
    if evidence.touched == 0 {
        if evidence.low > evidence.first_live {
            return Err(evidence.gap(evidence.first_live));
        }
        // A log gets its name only after its first mark is durable, so there was at least one group.
        let from = Lsn::new(evidence.first_live, block_bytes);
        let to = Lsn::new(evidence.first_live, block_bytes * 2);
        return Err(vec![Damage { from, to, what: DamageKind::NoGroup }]);
    }
    let mut below = evidence.touched + 1;
    loop {
        let top = evidence.touched_below(below);
        let Some(top) = top else {
            return evidence.nothing_kept(policy);
        };
        match evidence.chain(top, Links::First) {
            // Segment `broken` has no head at its first block, so its link is unknown.
            Err(broken) => {
                let x = Lsn::new(broken, block_bytes);
                if evidence.watermark > x {
                    return Err(evidence.damage(&[(broken, u32::MAX)], x));
                }
                evidence.check_suspect(x, policy)?;
                below = broken;
            }
            Ok(chain) => {
                let walk = evidence.walk(chain);
                return evidence.conclude(walk, policy);
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
    let degraded_verdict = || degraded::decide(segments, block_bytes, policy, closed);
    let verdict = match mode {
        OpenMode::Strict => None,
        OpenMode::Degraded => degraded_verdict(),
        OpenMode::Salvage => {
            degraded_verdict().or_else(|| salvage::decide(segments, block_bytes, policy, closed))
        }
    };
    verdict.ok_or(damage)
}

/// As [`decide`], for a log that is being created and whose segments hold no groups.
pub(crate) fn decide_fresh(segments: &[SegmentScan], block_bytes: u32) -> Result<Verdict, Vec<Damage>> {
    gather(segments, block_bytes, Lsn::ZERO)?.nothing_kept(UnexplainedTail::Refuse)
}

#[cfg(test)]
#[path = "mode_tests.rs"]
mod tests;
