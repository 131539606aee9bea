//! The activity of a process while it has the log: every step that is possible in a state.

mod append;
mod close;
mod complete;
mod prepare;

use crate::fault::crash;
use crate::log::Case;
use crate::log::block::{Block, Header, Kind, Pos, put};
use crate::log::rules::Headers;
use crate::log::state::{Phase, State, Write};
use crate::search::step::{Next, Step};

/// Every step of a process that is opening the log or has opened it, and of the power that may fail.
pub fn steps(state: &State, case: &Case, out: &mut Next) {
    if state.stops < case.scope.stops {
        crash::power_cuts(state, case, out);
    }
    for i in 0..state.late.len() {
        let mut next = state.clone();
        let (at, block) = next.late.remove(i);
        put(&mut next.files, at, block);
        out.push((Step::Arrives(at), next));
    }
    prepare::steps(state, case, out);
    complete::steps(state, out);
    if state.phase == Phase::Opening {
        finish_open(state, case, out);
    } else {
        append::steps(state, case, out);
        close::steps(state, case, out);
    }
}

/// Writes what open owes before it returns: a mark, or the header of the segment.
fn finish_open(state: &State, case: &Case, out: &mut Next) {
    let segment = state.next.segment();
    if !state.in_flight.is_empty() || !state.may_enter(segment, case) || segment > case.scope.segments {
        return;
    }
    let mut next = state.clone();
    if matches!(case.rules.headers, Headers::AtRotation(..)) {
        write_header(&mut next, segment, state.previous_end, true);
        out.push((Step::Header(segment), next));
    } else if state.mark_due {
        if append::issue(&mut next, case, Kind::Mark, 1) {
            out.push((Step::Issue(Kind::Mark, state.next_id, state.next, 1, state.durable_end), next));
        }
    } else {
        returned(&mut next);
        out.push((Step::Opened, next));
    }
}

/// Open returns: everything that it shows is promised from now on.
fn returned(state: &mut State) {
    state.phase = Phase::Running;
    state.history.returned = state.history.acknowledged;
}

/// Issues the header of a segment, where headers are written at rotation.
fn write_header(state: &mut State, segment: u8, previous_end: Pos, gates: bool) {
    let header = Header {
        sequence: segment,
        salt: state.next_salt,
        first_live: state.release_acknowledged,
        previous_end,
        zeros: false,
    };
    state.next_salt += 1;
    let blocks = [Block::Header(header), Block::Zeros];
    state.in_flight.push(Write { id: 0, at: Pos::new(segment, 0), len: 1, blocks, durable: false, gates });
}
