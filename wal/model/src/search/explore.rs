//! Breadth-first search over all states of a case. The first violation that it finds has the fewest steps.

use super::hash::of;
use super::next::{Parents, next_states};
use super::step::{Next, Tally};
use super::trace::trace;
use crate::log::Case;
use crate::log::state::State;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

/// The result of a search.
#[derive(Debug)]
pub struct Run {
    /// Different states.
    pub states: u64,
    /// Steps between them.
    pub steps: u64,
    /// Steps of the longest shortest way.
    pub depth: u32,
    /// Counts of the opens.
    pub tally: Tally,
    /// The promise that is broken, and how.
    pub violation: Option<Violation>,
    /// Every state was visited.
    pub complete: bool,
    /// Time that it took.
    pub time: Duration,
}

/// A broken promise.
#[derive(Debug)]
pub struct Violation {
    /// Which promise is broken, and by what.
    pub what: String,
    /// The steps to it, and the disk.
    pub trace: Vec<String>,
    /// Number of steps.
    pub steps: usize,
}

/// Visits every state of a case, or stops after `states_max`.
pub fn explore(case: &Case, states_max: u64) -> Run {
    let start = Instant::now();
    let first = State::first(case);
    let mut parents = Parents::default();
    parents.insert(of(&first), 0);
    let mut run = Run {
        states: 0,
        steps: 0,
        depth: 0,
        tally: Tally::default(),
        violation: None,
        complete: true,
        time: Duration::ZERO,
    };
    let mut front = vec![first];
    let mut out = Next::new();
    'search: while !front.is_empty() {
        let mut following = Vec::new();
        for state in front {
            out.clear();
            let hash = of(&state);
            if let Err(what) = next_states(&state, case, &mut run.tally, &mut out) {
                let (trace, steps) = trace(case, &parents, hash);
                run.violation = Some(Violation { what, trace, steps });
                break 'search;
            }
            run.steps += out.len() as u64;
            for (_, next) in out.drain(..) {
                if let Entry::Vacant(entry) = parents.entry(of(&next)) {
                    entry.insert(hash);
                    following.push(next);
                }
            }
            if parents.len() as u64 >= states_max {
                run.complete = false;
                break 'search;
            }
        }
        front = following;
        run.depth += u32::from(!front.is_empty());
    }
    run.states = parents.len() as u64;
    run.time = start.elapsed();
    run
}
