//! Where the log continues after a recovery.

use super::evidence::Evidence;
use crate::log::block::{Group, Kind, Pos};
use crate::log::rules::{Follows, InPlace, Restart};

/// Where the log continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resume {
    /// Position of the next group.
    pub at: Pos,
    /// End of the log before that segment, as the groups of the segment name it.
    pub previous_end: Pos,
    /// A mark has to be durable there before open returns.
    pub mark: bool,
}

/// In place if nothing follows the last kept group, else above every segment that is not as it was prepared.
pub fn resume_after(evidence: &Evidence<'_>, last: &Group) -> Resume {
    let rules = &evidence.case.rules;
    let (end, segment) = (last.end(), last.at.segment());
    let allowed = match rules.in_place {
        InPlace::AfterAny => last.kind != Kind::Footer,
        InPlace::AfterMark => last.kind == Kind::Mark,
        InPlace::Never => false,
    };
    let remains = rules.follows == Follows::HeadsAndRemains
        && (evidence.used > segment
            || evidence.scan(segment).is_some_and(|scan| scan.header.zeros && scan.zeros_from > end.block()));
    let follows = rules.follows != Follows::Nothing && (remains || evidence.follows(end));
    let room = end.block() < evidence.case.scope.blocks;
    if allowed && !follows && room {
        let is_mark =
            last.kind == Kind::Mark || (last.kind == Kind::Announcement && rules.announcement_is_mark);
        let mark = rules.open_mark && !is_mark;
        return Resume { at: end, previous_end: evidence.link(segment).unwrap_or(Pos::NONE), mark };
    }
    let new = next_segment(evidence, segment);
    Resume { at: Pos::new(new, 1), previous_end: evidence.previous_end(new, end), mark: rules.open_mark }
}

/// An empty log: it starts above everything that is used.
pub fn start_over(evidence: &Evidence<'_>, first_live: u8) -> Resume {
    let segment = match evidence.used {
        0 => first_live,
        _ => next_segment(evidence, first_live - 1),
    };
    Resume { at: Pos::new(segment, 1), previous_end: Pos::NONE, mark: evidence.case.rules.open_mark }
}

/// The segment that the log enters after segment `end`.
fn next_segment(evidence: &Evidence<'_>, end: u8) -> u8 {
    let has_heads = |segment: u8| match evidence.case.rules.follows {
        Follows::ValidGroups => evidence.heads(segment).iter().any(|&(_, valid)| valid),
        _ => !evidence.heads(segment).is_empty(),
    };
    match evidence.case.rules.restart {
        Restart::AboveUsed => evidence.used.max(end) + 1,
        Restart::FirstUntouched => (end + 1..).find(|&segment| !has_heads(segment)).unwrap_or(end + 1),
        Restart::NextNumber => end + 1,
    }
}
