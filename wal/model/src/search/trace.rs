//! The trace of a violation: the steps from the first state, and the disk at its end.

use super::hash::of;
use super::next::{Parents, next_states};
use super::step::{Next, Tally, named};
use crate::log::Case;
use crate::log::block::{Block, Body, FOREIGN_SALT, File, Kind};
use crate::log::state::{Closed, State};

/// The lines of the trace to the state with a hash, and the number of steps.
pub fn trace(case: &Case, parents: &Parents, target: u64) -> (Vec<String>, usize) {
    let mut way = vec![target];
    while let Some(&parent) = way.last().and_then(|hash| parents.get(hash)).filter(|&&parent| parent != 0) {
        way.push(parent);
    }
    way.reverse();
    let mut state = State::first(case);
    let mut lines = Vec::new();
    for (i, hash) in way.iter().enumerate().skip(1) {
        let mut out = Next::new();
        // A broken promise is reported once, at the end of the trace.
        let _ = next_states(&state, case, &mut Tally::default(), &mut out);
        let Some((step, next)) = out.into_iter().find(|(_, next)| of(next) == *hash) else {
            lines.push(format!("{i:3}. (the step cannot be repeated)"));
            break;
        };
        lines.push(format!("{i:3}. {step}"));
        state = next;
    }
    lines.push("     The disk:".to_owned());
    let blocks = usize::from(case.scope.blocks);
    let written = |file: &&File| file.touched(case) || file.header().is_none();
    for file in state.files.iter().filter(written) {
        let content: Vec<String> = file.blocks[..blocks].iter().map(shown).collect();
        lines.push(format!("     {:08x}.wal: {}", file.number, content.join(" | ")));
    }
    if state.closed != Closed::Absent {
        lines.push(format!("     CLOSED: {}", named(state.closed)));
    }
    let acknowledged: Vec<u8> =
        state.history.log.iter().copied().filter(|&id| state.history.is_acknowledged(id)).collect();
    lines.push(format!("     The log: {:?}; acknowledged: {acknowledged:?}", state.history.log));
    (lines, way.len() - 1)
}

fn shown(block: &Block) -> String {
    match block {
        Block::Zeros => "zeros".to_owned(),
        Block::Garbage => "garbage".to_owned(),
        Block::Remains => "remains".to_owned(),
        Block::Payload(_) => "payload".to_owned(),
        Block::Header(header) if header.salt == FOREIGN_SALT => "old header".to_owned(),
        Block::Header(header) => format!("header, first live {}", header.first_live),
        Block::Head(group, _) if group.salt == FOREIGN_SALT => "old group".to_owned(),
        Block::Head(group, body) => {
            let kind = match group.kind {
                Kind::Data => "group",
                Kind::Mark => "mark",
                Kind::Footer => "footer",
                Kind::Announcement => "announcement",
            };
            let torn = if *body == Body::Whole { "" } else { ", torn" };
            format!(
                "{kind} {} (at {}, blocks {}, watermark {}, previous end {}, first live {}{torn})",
                group.id, group.at, group.len, group.watermark, group.previous_end, group.first_live
            )
        }
    }
}
