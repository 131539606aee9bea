//! Bugs on purpose, to ask the tests whether they would find them.
//!
//! Place: beside the code, one `if mutant("name")` per bug. Without `--cfg seawall_mutants` the answer is
//! the constant `false` and nothing of a bug is compiled; with it, the environment names the one bug that
//! is switched on. `wal/mutants.sh` builds once and runs the tests for each; `docs/testing.md` says how.

/// Whether the bug `name` is switched on, by `SEAWALL_MUTANT`.
#[cfg(seawall_mutants)]
pub fn mutant(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("SEAWALL_MUTANT").ok()).as_deref() == Some(name)
}

/// No bug is.
#[cfg(not(seawall_mutants))]
#[inline(always)]
pub const fn mutant(_name: &str) -> bool {
    false
}
