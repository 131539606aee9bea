//! The reasons for which open refuses a log.

use crate::log::block::Pos;
use std::fmt;

/// Why open refuses a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A file is shorter than its header says.
    Length,
    /// The header of the highest segment is invalid.
    Header(u8),
    /// A segment is missing.
    Missing(u8),
    /// The log ends here, and more was durable.
    Damage(Pos),
    /// The bytes here cannot come from a power cut.
    Suspect(Pos),
    /// The file `CLOSED` is damaged (a wrong rule).
    Witness,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Length => f.write_str("a file is shorter than its header says"),
            Refusal::Header(n) => write!(f, "the header of segment {n} is invalid"),
            Refusal::Missing(n) => write!(f, "segment {n} is missing"),
            Refusal::Damage(x) => write!(f, "no valid group at {x}, below the watermark"),
            Refusal::Suspect(x) => write!(f, "the bytes at {x} cannot come from a power cut"),
            Refusal::Witness => f.write_str("the file CLOSED is damaged"),
        }
    }
}
