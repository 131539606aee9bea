//! Clean closes: the file `CLOSED` gets the end of the log, then the process ends.
//!
//! The file is written under another name, synced and renamed, so it is the old or the new one. Nothing else
//! is written meanwhile, so the write is one step; a crash before it or after it is a power cut in the state
//! before or after.

use crate::fault::crash;
use crate::log::Case;
use crate::log::block::{Kind, Pos};
use crate::log::rules::Witness;
use crate::log::scope::Closing;
use crate::log::state::{Closed, State};
use crate::search::step::{Next, Step};

/// A clean close, and the file `CLOSED` written without one.
pub fn steps(state: &State, case: &Case, out: &mut Next) {
    if case.scope.closing == Closing::Never {
        return;
    }
    let idle = state.in_flight.is_empty() && state.durable_end != Pos::NONE;
    let too_early = case.rules.witness == Witness::WrittenEnd && !state.history.log.is_empty();
    if case.scope.closing == Closing::Anytime && (idle || too_early) {
        for closed in contents(state, case) {
            let mut next = state.clone();
            written(&mut next, closed);
            if next != *state {
                out.push((Step::Witness(closed), next));
            }
        }
    }
    if state.stops < case.scope.stops && (idle && state.last == Some(Kind::Mark) || too_early) {
        for closed in contents(state, case) {
            let mut next = state.clone();
            written(&mut next, closed);
            crash::closed(&next, closed, out);
        }
    }
}

/// The possible contents of the file once it has been written.
fn contents(state: &State, case: &Case) -> Vec<Closed> {
    match case.rules.witness {
        Witness::WrittenEnd => vec![Closed::End(state.next)],
        Witness::OneBlockMore => vec![Closed::End(state.durable_end.plus(1))],
        Witness::NamedFirst => vec![Closed::End(state.durable_end), Closed::Damaged],
        Witness::DurableEnd | Witness::Unread | Witness::DamagedRefuses => {
            vec![Closed::End(state.durable_end)]
        }
    }
}

fn written(state: &mut State, closed: Closed) {
    state.closed = closed;
    state.history.closed_end = state.history.closed_end.max(state.durable_end);
}
