//! Readys that are not durable yet, and the wake-ups when they are.

pub(crate) mod completions;
pub(crate) mod pending_readys;
