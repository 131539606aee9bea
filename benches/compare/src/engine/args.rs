//! Command-line options of all rows.

use anyhow::{Result, ensure};
use clap::Args;
use seawall_harness::place::Spot;
use std::path::{Path, PathBuf};

const DEFAULT_DIR: &str = "compare-data";
const ROUNDS_MAX: usize = 1000;

/// Options of every row.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Directory to measure in; created if missing [default: ./compare-data]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Rounds; each runs every line once, and the figures are medians over the rounds
    #[arg(long, value_name = "R", default_value_t = 5, global = true)]
    pub(crate) rounds: usize,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) json: Option<PathBuf>,
    /// Seed of payloads and of random choices [default: random]
    #[arg(long, global = true)]
    pub(crate) seed: Option<u64>,
    /// One tiny round, to check that everything works; the figures mean nothing
    #[arg(long, global = true)]
    pub(crate) quick: bool,
}

impl Common {
    /// The directory to measure in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new(DEFAULT_DIR))
    }

    pub(crate) fn spot(&self) -> Spot<'_> {
        Spot { tool: "compare-engine", dir: self.dir(), is_default: self.dir.is_none() }
    }

    /// Refuses values that cannot be measured.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!((1..=ROUNDS_MAX).contains(&self.rounds), "--rounds is {}: 1 to {ROUNDS_MAX}", self.rounds);
        Ok(())
    }
}

/// Directory, seed and rounds of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// Directory for all files of the run.
    pub(crate) dir: &'a Path,
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
}
