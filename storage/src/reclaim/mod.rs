//! Frees segments: compaction points, release, and rewriting of live entries.

pub(crate) mod release;
pub(crate) mod rewrite;
pub(crate) mod throttle;
