//! Damaged and dropped ranges of a log, as errors and reports describe them.

use crate::format::{ClosedFault, GroupFault, HeaderFault};
use crate::types::Lsn;
use std::fmt;

/// One damaged or missing range `[from, to)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Position of the first damaged byte.
    pub from: Lsn,
    /// Upper bound of the end of the damage, exclusive.
    pub to: Lsn,
    /// The kind of damage.
    pub what: DamageKind,
}

/// The kind of damage in a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DamageKind {
    /// Acknowledged bytes (the watermark is beyond them) hold no group header.
    NoGroup,
    /// An acknowledged group has a valid header, but the rest of it is not valid.
    Group(GroupFault),
    /// The header of a segment that is needed is not valid.
    Header(HeaderFault),
    /// The file of a segment that is needed is missing.
    Missing,
    /// Bytes at the end of the log that a torn write cannot have left.
    Suspect,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DamageKind::NoGroup => f.write_str("acknowledged bytes hold no group"),
            DamageKind::Group(GroupFault::Record(at, fault)) => {
                write!(f, "acknowledged record at byte {at} of its group fails its check ({fault:?})")
            }
            DamageKind::Group(GroupFault::Padding(at)) => {
                write!(f, "acknowledged group has a padding byte that is not zero at byte {at}")
            }
            DamageKind::Group(GroupFault::Count) => {
                f.write_str("acknowledged group holds other records than its header says")
            }
            DamageKind::Group(GroupFault::Unchecked) => f.write_str(
                "acknowledged group claims bytes that too many other groups claim, and was not checked",
            ),
            DamageKind::Header(fault) => write!(f, "segment header is not valid ({fault:?})"),
            DamageKind::Missing => f.write_str("segment file is missing"),
            DamageKind::Suspect => f.write_str("bytes that no torn write can have left"),
        }
    }
}

/// The content of the file `CLOSED`, which a clean close writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// There is no such file: the log was never closed.
    Absent,
    /// Everything below this position was durable when the log was closed.
    End(Lsn),
    /// The file exists and is not valid. Recovery ignores it, and the next close replaces it.
    Damaged(ClosedFault),
}

impl Witness {
    /// The position below which everything was durable at the last close; [`Lsn::ZERO`] if that is not known.
    pub fn durable(&self) -> Lsn {
        match self {
            Witness::End(end) => *end,
            Witness::Absent | Witness::Damaged(_) => Lsn::ZERO,
        }
    }
}

/// A range `[from, to)` of the log that open dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// Position of the first byte.
    pub from: Lsn,
    /// End of the range, exclusive.
    pub to: Lsn,
    /// Why it was dropped.
    pub why: DropReason,
}

/// Why open dropped a range that was never acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// A group that was being written at the crash and is incomplete.
    Torn,
    /// A complete group after a torn one.
    BehindTorn,
    /// A group in a part of the log that an earlier recovery abandoned.
    Void,
    /// Bytes that no crash can have left, dropped because of [`UnexplainedTail::Drop`](crate::UnexplainedTail::Drop).
    Suspect,
}
