//! The steps that lead from one state to the next, and the record of them that a trace is made of.

use super::hash::AsGiven;
use super::step::{Next, Tally};
use crate::log::Case;
use crate::log::state::{Phase, State};
use crate::process;
use crate::recovery::open;
use std::collections::HashMap;

/// From the hash of a state to that of the state before it; 0 before the first one.
pub type Parents = HashMap<u64, u64, AsGiven>;

/// Every step from a state. `Err` says which promise is broken.
pub fn next_states(state: &State, case: &Case, tally: &mut Tally, out: &mut Next) -> Result<(), String> {
    match state.phase {
        Phase::Down => open::steps(state, case, tally, out),
        Phase::Opening | Phase::Running => {
            process::steps(state, case, out);
            Ok(())
        }
    }
}
