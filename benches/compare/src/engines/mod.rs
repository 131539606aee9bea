//! The logs that are compared, with a common interface.
//!
//! An engine works in its own directory. Between measurements it does the background work that a user would run
//! (compaction, zeroing). It reports how many records it holds, and at the end it is reopened to read the last one
//! back. An error of an engine ends the run, because its figures would mean nothing.

mod okaywal;
mod raft_engine;
mod raft_log;
mod raw;
mod seawall;

use crate::args::Scale;
use crate::load::{Load, Who};
use anyhow::{Context, Result, ensure};
use seawall_harness::load::Sample;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Versions of the compared packages, as `Cargo.toml` pins them.
pub(crate) const VERSIONS: [(&str, &str); 3] =
    [("raft-engine", "0.4.2"), ("okaywal", "0.3.1"), ("raft-log", "0.4.6")];

/// Result of one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) ops_s: f64,
    /// Absent if appends are not waited for.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// All appends made, including those of the warm-up.
    pub(crate) appended: u64,
}

impl Seen {
    /// Result of appends that no thread waited for, including the flush at their end.
    fn of_lazy(appends: u64, begin: Instant) -> Seen {
        let ops_s = appends as f64 / begin.elapsed().as_secs_f64();
        Seen { ops_s, p50_us: None, p99_us: None, appended: appends }
    }
}

impl From<&Sample> for Seen {
    fn from(sample: &Sample) -> Seen {
        Seen {
            ops_s: sample.ops_s(),
            p50_us: Some(sample.quantile_us(0.5)),
            p99_us: Some(sample.quantile_us(0.99)),
            appended: sample.appended,
        }
    }
}

/// A target of appends.
pub(crate) trait Engine {
    /// Runs the load once.
    fn measure(&self, who: Who, load: &Load, payload: &[u8]) -> Result<Seen>;

    /// Does the background work between measurements.
    fn rest(&self) -> Result<()> {
        Ok(())
    }

    /// Records appended so far by the engine's own count; `None` if it has none.
    fn records(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Calls so far that made something durable (syncs, or writes that are durable by themselves), counted by the
    /// engine or by a hook in it.
    fn syncs(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Appends once more, closes, reopens, and returns the last record's payload. Returns `None` if the target keeps no
    /// records.
    fn read_back(self: Box<Self>, payload: &[u8]) -> Result<Option<Vec<u8>>>;
}

/// Creates the engine for `who` in `dir`. Creates the directory too.
pub(crate) fn create(who: Who, dir: &Path, scale: &Scale, row: u8) -> Result<Box<dyn Engine>> {
    fs::create_dir(dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(match who {
        Who::Floor(mode) => Box::new(raw::Raw::create(dir, mode, scale)?),
        Who::Bare => Box::new(raw::BareCommit::create(dir, scale)?),
        Who::Seawall(variant) => Box::new(seawall::Seawall::create(dir, variant, scale, row)?),
        Who::RaftEngine | Who::RaftEngineGathered => Box::new(raft_engine::open_tuned(dir, scale)?),
        Who::RaftEngineDefault => Box::new(raft_engine::open_default(dir)?),
        Who::RaftLog(window) => Box::new(raft_log::Log::open(dir, window)?),
        Who::Okaywal => Box::new(okaywal::Okay::open(dir, scale)?),
    })
}

/// Checks that an engine still has what was appended to it.
pub(crate) fn verify(who: Who, engine: Box<dyn Engine>, payload: &[u8]) -> Result<()> {
    // Differs from the payload that the load appended.
    let last: Vec<u8> = payload.iter().map(|byte| !byte).collect();
    if let Some(found) = engine.read_back(&last).with_context(|| format!("reopen {}", who.name()))? {
        ensure!(found == last, "{} lost its last record: {} bytes found", who.name(), found.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_named_are_those_built() {
        let lock = include_str!("../../Cargo.lock");
        for (name, version) in VERSIONS {
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{name}");
        }
    }
}
