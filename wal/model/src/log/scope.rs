//! The scope of a run: how large the log is, and what can happen to it.
//!
//! A run enumerates every state within its scope. It says nothing about larger logs.

use super::block::Block;

/// Bytes that survive of a block which was being written when the power failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tears {
    /// All of it or nothing; where a head would be overwritten, also garbage.
    #[default]
    Blocks,
    /// Any of its sectors.
    Sectors,
}

/// Where the files of the log come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Files {
    /// All of them exist from the start; their blocks hold groups of an earlier use.
    GivenUsed,
    /// All of them exist from the start; their blocks hold zeros.
    GivenZeroed,
    /// None exists at the start; the log prepares this many spares ahead, and recycles released files.
    Prepared(u8),
}

/// When the file `CLOSED` is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Closing {
    /// Never: the process never closes the log.
    #[default]
    Never,
    /// At a clean close.
    AtClose,
    /// At a clean close, and whenever nothing is in flight.
    Anytime,
}

/// The damage of which one may happen, once, while no process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Damages {
    /// A block becomes garbage, zeros, older content, or the copy of another block.
    pub block: bool,
    /// A run of blocks in one file becomes zeros.
    pub run: bool,
    /// A file is deleted.
    pub file: bool,
    /// A file is cut short.
    pub length: bool,
    /// The file `CLOSED` is deleted or damaged.
    pub witness: bool,
}

/// How large the log is, and what can happen to it.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Blocks of a segment, its header included; at most 7.
    pub blocks: u8,
    /// Segment numbers that may be used.
    pub segments: u8,
    /// Data groups that are appended in all.
    pub groups: u8,
    /// Longest data group, in blocks; 1 or 2.
    pub group_blocks: u8,
    /// Data groups in flight at a time.
    pub in_flight: u8,
    /// Power cuts and clean closes in all.
    pub stops: u8,
    /// Bytes that survive of a block that was being written.
    pub tears: Tears,
    /// The later blocks of all groups hold the same bytes, so that one can stand in for another.
    pub same_payload: bool,
    /// Where files come from.
    pub files: Files,
    /// The caller releases segments.
    pub release: bool,
    /// Blocks of a footer; 0 if segments get none.
    pub footer_blocks: u8,
    /// Reach of the segments whose blocks held zeros, in blocks; 0 if it is not bounded.
    pub reach: u8,
    /// When the file `CLOSED` is written.
    pub closing: Closing,
    /// The damage that may happen.
    pub damages: Damages,
}

impl Scope {
    /// The content of a later block of group `id`.
    pub fn payload(&self, id: u8) -> Block {
        Block::Payload(if self.same_payload { 0 } else { id })
    }

    /// The files are prepared by the log itself.
    pub fn prepares(&self) -> bool {
        matches!(self.files, Files::Prepared(_))
    }

    /// The blocks of a file hold zeros before the log uses it for the first time.
    pub fn zeroed(&self) -> bool {
        self.files != Files::GivenUsed
    }

    /// A group of `len` blocks is longer than the reach.
    pub fn is_long(&self, len: u8) -> bool {
        self.reach > 0 && len > self.reach
    }
}

impl Default for Scope {
    fn default() -> Scope {
        Scope {
            blocks: 4,
            segments: 6,
            groups: 4,
            group_blocks: 2,
            in_flight: 3,
            stops: 2,
            tears: Tears::Blocks,
            same_payload: true,
            files: Files::GivenUsed,
            release: false,
            footer_blocks: 0,
            reach: 0,
            closing: Closing::Never,
            damages: Damages::default(),
        }
    }
}
