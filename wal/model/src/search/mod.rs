//! The search: every reachable state, the shortest way to each, and the trace of a violation.

pub mod explore;
mod hash;
mod next;
pub mod step;
mod trace;
