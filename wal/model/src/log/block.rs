//! Positions, blocks and files: what the disk of the model holds.
//!
//! A block is the unit of a write. Its content is symbolic: the model keeps what a reader can learn from it
//! and nothing else.

use super::Case;
use std::fmt;

/// The most blocks that a file can have, its header included.
pub const BLOCKS_MAX: usize = 7;
/// Salt of groups that the file held in an earlier use.
pub const FOREIGN_SALT: u8 = 250;
/// Number of every group that the file held in an earlier use.
pub const FOREIGN_ID: u8 = 31;

/// A position in the log: the segment in the high five bits, the block in the low three.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Pos(u8);

impl Pos {
    /// No position; lower than all others.
    pub const NONE: Pos = Pos(0);
    /// Higher than every position of the log.
    pub const MAX: Pos = Pos(255);

    /// Block `block` of segment `segment`.
    pub const fn new(segment: u8, block: u8) -> Pos {
        Pos(segment << 3 | block)
    }

    /// Number of the segment.
    pub const fn segment(self) -> u8 {
        self.0 >> 3
    }

    /// Block within the segment; the number of blocks if the position is the end of the file.
    pub const fn block(self) -> u8 {
        self.0 & 7
    }

    /// The position `blocks` further in the same segment.
    pub const fn plus(self, blocks: u8) -> Pos {
        Pos(self.0 + blocks)
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Pos::NONE { f.write_str("-") } else { write!(f, "{}:{}", self.segment(), self.block()) }
    }
}

/// The purpose of a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Records of a caller.
    Data,
    /// No records: it carries the watermark.
    Mark,
    /// The last group of a segment.
    Footer,
    /// A mark which says that the next group is longer than the reach.
    Announcement,
}

/// A group header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Group {
    /// Salt of the file when the group was written.
    pub salt: u8,
    /// Its own position.
    pub at: Pos,
    /// Length in blocks.
    pub len: u8,
    /// End of the prefix that was known to be durable when the group was issued.
    pub watermark: Pos,
    /// End of the kept log before its segment.
    pub previous_end: Pos,
    /// Lowest segment that is live once it is durable.
    pub first_live: u8,
    /// Its purpose.
    pub kind: Kind,
    /// Its number in the history; a reader does not use it to decide.
    pub id: u8,
}

impl Group {
    /// The position after its last block.
    pub fn end(&self) -> Pos {
        self.at.plus(self.len)
    }
}

/// A segment header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// Number of the segment.
    pub sequence: u8,
    /// Salt of the groups of this use of the file.
    pub salt: u8,
    /// Lowest live segment, as acknowledged when the header was written.
    pub first_live: u8,
    /// End of the log before the segment; used only where headers are written at rotation.
    pub previous_end: Pos,
    /// The blocks held zeros when the header was written.
    pub zeros: bool,
}

/// The content of the first block of a group, apart from the group header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Body {
    /// The bytes that were written.
    Whole,
    /// A sector of zeros is where the write did not arrive.
    Holed,
    /// No sector of zeros, but sectors of another write.
    Mixed,
}

/// The content of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Block {
    /// Never written, or lost.
    Zeros,
    /// Bytes that nothing recognises, in the first sector too.
    Garbage,
    /// Later sectors of a write of which the first sector did not arrive: that one holds zeros.
    Remains,
    /// A segment header.
    Header(Header),
    /// The first block of a group.
    Head(Group, Body),
    /// A later block of a group.
    Payload(u8),
}

/// A file of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct File {
    /// The number in its name.
    pub number: u8,
    /// Its blocks; those beyond the scope's length are zeros.
    pub blocks: [Block; BLOCKS_MAX],
}

impl File {
    /// A file that holds zeros.
    pub fn zeroed(number: u8) -> File {
        File { number, blocks: [Block::Zeros; BLOCKS_MAX] }
    }

    /// Its header, if it has one that fits its name.
    pub fn header(&self) -> Option<Header> {
        match self.blocks[0] {
            Block::Header(header) if header.sequence == self.number => Some(header),
            _ => None,
        }
    }

    /// The head at `block`, and whether the group is valid.
    pub fn head_at(&self, block: u8, case: &Case) -> Option<(Group, bool)> {
        let Block::Head(group, body) = self.blocks[usize::from(block)] else { return None };
        let salt = self.header()?.salt;
        let own = group.salt == salt || !case.rules.salt;
        if !own || group.at != Pos::new(self.number, block) || block + group.len > case.scope.blocks {
            return None;
        }
        let rest = |i: u8| self.blocks[usize::from(block + i)] == case.scope.payload(group.id);
        Some((group, body == Body::Whole && (1..group.len).all(rest)))
    }

    /// Whether any block holds a head.
    pub fn touched(&self, case: &Case) -> bool {
        (1..case.scope.blocks).any(|block| self.head_at(block, case).is_some())
    }
}

/// The file with a number.
pub fn file(files: &[File], number: u8) -> Option<&File> {
    files.iter().find(|file| file.number == number)
}

/// Stores a block; nothing happens if the file does not exist.
pub fn put(files: &mut [File], at: Pos, block: Block) {
    if let Some(file) = files.iter_mut().find(|file| file.number == at.segment()) {
        file.blocks[usize::from(at.block())] = block;
    }
}

/// The content that a file held at a position in an earlier use: groups that carry the right position and the
/// largest watermark.
pub fn foreign(case: &Case, at: Pos) -> Block {
    if at.block() == 0 {
        let sequence = at.segment().saturating_sub(3);
        let header =
            Header { sequence, salt: FOREIGN_SALT, first_live: 0, previous_end: Pos::NONE, zeros: false };
        return Block::Header(header);
    }
    if at.block().is_multiple_of(2) && case.scope.same_payload {
        return case.scope.payload(FOREIGN_ID);
    }
    let group = Group {
        salt: FOREIGN_SALT,
        at,
        len: 1,
        watermark: Pos::MAX,
        previous_end: at,
        first_live: 0,
        kind: Kind::Data,
        id: FOREIGN_ID,
    };
    Block::Head(group, Body::Whole)
}
