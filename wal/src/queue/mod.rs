//! Groups in memory: filled, queued, in flight; and the durable prefix that completions make of them.

mod flight;
mod group;

pub(crate) use flight::Flight;
pub(crate) use group::{Group, Pool};
