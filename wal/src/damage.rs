//! Damaged and dropped places of a log, as errors and reports name them.

use crate::format::{ClosedFault, GroupFault, HeaderFault};
use crate::types::Lsn;
use std::fmt;

/// One damaged or missing place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where it starts.
    pub from: Lsn,
    /// Where it ends, at the latest.
    pub to: Lsn,
    /// What is wrong.
    pub what: DamageKind,
}

/// What is wrong with a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DamageKind {
    /// Bytes that were acknowledged (the watermark is beyond them) hold no group header.
    NoGroup,
    /// An acknowledged group is there and does not check.
    Group(GroupFault),
    /// The header of a segment that is needed.
    Header(HeaderFault),
    /// A segment that is needed has no file.
    Missing,
    /// Bytes at the log's end that a torn write cannot have left.
    Suspect,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DamageKind::NoGroup => f.write_str("acknowledged bytes hold no group"),
            DamageKind::Group(GroupFault::Record(at, fault)) => {
                write!(f, "acknowledged record at byte {at} of its group does not check ({fault:?})")
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
            DamageKind::Header(fault) => write!(f, "segment header does not check ({fault:?})"),
            DamageKind::Missing => f.write_str("segment file is missing"),
            DamageKind::Suspect => f.write_str("bytes that no torn write can have left"),
        }
    }
}

/// What the file of a clean close says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// There is none: the log was never closed.
    Absent,
    /// Everything below this position was durable at a close.
    End(Lsn),
    /// There is one, and it is not believed. The log is judged without it, and the next close replaces it.
    Damaged(ClosedFault),
}

impl Witness {
    /// A position below which everything was durable; zero if nothing is known.
    pub fn durable(&self) -> Lsn {
        match self {
            Witness::End(end) => *end,
            Witness::Absent | Witness::Damaged(_) => Lsn::ZERO,
        }
    }
}

/// A range of the log that open dropped, with the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// First byte.
    pub from: Lsn,
    /// Just behind the last byte.
    pub to: Lsn,
    /// Why it went.
    pub why: DropReason,
}

/// Why open dropped a range that was never acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// A group that was being written at the crash and is not whole.
    Torn,
    /// A whole group behind a torn one.
    BehindTorn,
    /// Left behind by an earlier recovery.
    Void,
    /// Suspect bytes that the policy said to drop.
    Suspect,
}
