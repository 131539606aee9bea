//! The result of recovery's decision: what is kept, what is dropped or damaged, and where the log continues.

use crate::damage::{Damage, Dropped};
use crate::types::Lsn;

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
    pub(super) fn in_new(at: Lsn, previous_end: Lsn) -> ResumePoint {
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
