//! The steps from a state to the next, as a trace shows them.

use crate::log::block::{Kind, Pos};
use crate::log::state::{Closed, Stage, State};
use std::fmt;

/// The states that can follow a state.
pub type Next = Vec<(Step, State)>;

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Opens that were checked.
    pub opens: u64,
    /// Opens that refused a damaged log.
    pub refused: u64,
    /// Opens of a damaged log that lost nothing.
    pub harmless: u64,
    /// Opens of a damaged log that lost acknowledged groups where one node cannot decide.
    pub undecidable: u64,
    /// The most data groups that one of those lost.
    pub lost_at_most: u32,
    /// Opens that showed a dropped group after a run of zeros took all later ones.
    pub revived: u64,
}

/// The fate of a block that was in flight when the power failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The old content stays.
    Lost,
    /// The write is complete.
    Whole,
    /// Some sectors are written.
    Torn,
    /// The write arrives after the next open.
    Late,
    /// The block is in the page cache only.
    Cached,
}

/// A step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A group is issued: kind, number, position, length, watermark.
    Issue(Kind, u8, Pos, u8, Pos),
    /// A segment stays without a footer.
    NoFooter(u8),
    /// The header of a segment is issued.
    Header(u8),
    /// A write completes: number of the group, position.
    Durable(u8, Pos),
    /// Everything below a segment is released.
    Release(u8),
    /// A spare is started, from a released file or (0) a new one.
    SpareStarted(u8, u8),
    /// A stage of a spare completes.
    Spare(u8, Stage),
    /// The file `CLOSED` is written while the log stays open.
    Witness(Closed),
    /// A clean close.
    Close(Closed),
    /// A power cut, with the fate of every block that was in flight.
    PowerCut(Vec<(Pos, Fate)>),
    /// A write of the dead process arrives.
    Arrives(Pos),
    /// Blocks change: position, number, content.
    Rot(Pos, u8, &'static str),
    /// A file is cut short.
    Cut(Pos),
    /// A file is deleted.
    Deleted(u8),
    /// The file `CLOSED` is damaged.
    WitnessDamaged(Closed),
    /// Recovery decides.
    Open {
        /// Groups that are kept.
        kept: Vec<u8>,
        /// End of the kept log.
        end: Pos,
        /// Everything below it was durable.
        watermark: Pos,
        /// Where the next group goes.
        at: Pos,
        /// Groups that are dropped.
        dropped: Vec<u8>,
    },
    /// Open returns.
    Opened,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Issue(kind, id, at, len, watermark) => {
                let kind = match kind {
                    Kind::Data => "data group",
                    Kind::Mark => "mark",
                    Kind::Footer => "footer",
                    Kind::Announcement => "announcement",
                };
                write!(f, "issue {kind} {id} at {at}, blocks {len}, durable before it {watermark}")
            }
            Step::NoFooter(segment) => write!(f, "segment {segment} has no room for a footer"),
            Step::Header(segment) => write!(f, "issue the header of segment {segment}"),
            Step::Durable(0, at) => write!(f, "the header of segment {} is durable", at.segment()),
            Step::Durable(id, at) => write!(f, "group {id} at {at} is durable"),
            Step::Release(segment) => write!(f, "the caller releases everything below segment {segment}"),
            Step::SpareStarted(target, 0) => write!(f, "spare {target}: a new file"),
            Step::SpareStarted(target, source) => write!(f, "spare {target}: file {source} is used again"),
            Step::Spare(target, stage) => {
                let done = match stage {
                    Stage::Header | Stage::HeaderLast => "the header is durable",
                    Stage::HeaderDurable => "the rename is issued",
                    Stage::Name | Stage::NameFirst => "the name is durable",
                };
                write!(f, "spare {target}: {done}")
            }
            Step::Witness(closed) => write!(f, "CLOSED is written: {}", named(*closed)),
            Step::Close(closed) => write!(f, "clean close, CLOSED: {}", named(*closed)),
            Step::PowerCut(fates) => {
                f.write_str("power cut")?;
                for (at, fate) in fates {
                    let fate = match fate {
                        Fate::Lost => "lost",
                        Fate::Whole => "written",
                        Fate::Torn => "torn",
                        Fate::Late => "still under way",
                        Fate::Cached => "in the page cache only",
                    };
                    write!(f, "; {at} {fate}")?;
                }
                Ok(())
            }
            Step::Arrives(at) => write!(f, "a write of the dead process arrives at {at}"),
            Step::Rot(at, 1, content) => write!(f, "damage: block {at} holds {content}"),
            Step::Rot(at, blocks, content) => write!(f, "damage: {blocks} blocks from {at} hold {content}"),
            Step::Cut(at) => write!(f, "damage: the file of segment {} ends at {at}", at.segment()),
            Step::Deleted(number) => write!(f, "damage: the file of segment {number} is deleted"),
            Step::WitnessDamaged(closed) => write!(f, "damage: CLOSED: {}", named(*closed)),
            Step::Open { kept, end, watermark, at, dropped } => write!(
                f,
                "open: watermark {watermark}, kept {kept:?}, end {end}, dropped {dropped:?}, next group at {at}"
            ),
            Step::Opened => f.write_str("open returns"),
        }
    }
}

/// The content of the file `CLOSED`, as a trace shows it.
pub fn named(closed: Closed) -> String {
    match closed {
        Closed::Absent => "absent".to_owned(),
        Closed::End(end) => format!("the log ends at {end}"),
        Closed::Damaged => "damaged".to_owned(),
    }
}
