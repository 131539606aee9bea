//! Provides the seeds of random runs: reads them from the environment, and prints the seed of a run that
//! fails.

#![allow(dead_code, reason = "every program uses its own part of it")]

use std::panic::{UnwindSafe, catch_unwind, resume_unwind};

/// Returns the number in the environment variable `name`.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Calls `run`, and prints the seed from which it can be repeated if it panics.
pub fn with_seed<T>(seed: u64, run: impl FnOnce() -> T + UnwindSafe) -> T {
    catch_unwind(run).unwrap_or_else(|panic| {
        eprintln!("repeat with SEAWALL_SEED={seed}");
        resume_unwind(panic)
    })
}
