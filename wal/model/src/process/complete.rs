//! Completions: writes end in any order, acknowledgements follow the order of the log.

use super::returned;
use crate::log::block::{Block, put};
use crate::log::state::{Phase, State};
use crate::search::step::{Next, Step};

/// Every write that may end next.
pub fn steps(state: &State, out: &mut Next) {
    for (i, write) in state.in_flight.iter().enumerate().filter(|(_, write)| !write.durable) {
        let mut next = state.clone();
        next.in_flight[i].durable = true;
        for (at, block) in write.content() {
            put(&mut next.files, at, block);
        }
        acknowledge(&mut next);
        if state.phase == Phase::Opening && next.in_flight.is_empty() {
            returned(&mut next);
        }
        out.push((Step::Durable(write.id, write.at), next));
    }
}

/// Acknowledges the prefix of the log that is durable.
fn acknowledge(state: &mut State) {
    let mut i = 0;
    while i < state.in_flight.len() {
        let write = &state.in_flight[i];
        if !write.durable {
            // A header that nothing waits for is passed over.
            if write.id == 0 && !write.gates {
                i += 1;
                continue;
            }
            return;
        }
        let write = state.in_flight.remove(i);
        if let Block::Head(group, _) = write.blocks[0] {
            state.history.acknowledged |= 1 << write.id;
            state.durable_end = group.end();
            state.release_acknowledged = state.release_acknowledged.max(group.first_live);
        }
    }
}
