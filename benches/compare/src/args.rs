//! Command line of `compare`, and the sizes of its measurements.

use anyhow::{Result, ensure};
use clap::Parser;
use seawall_harness::place::Spot;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEFAULT_DIR: &str = "compare-data";
const ROWS_MAX: u8 = 6;
const ROUNDS_MAX: usize = 1000;
const SECONDS_MAX: f64 = 3600.0;

/// Measures Seawall's log next to raft-engine, okaywal and raft-log, on one disk.
#[derive(Parser, Clone, Debug)]
#[command(name = "compare", version)]
pub(crate) struct Args {
    /// Directory to measure in; created if missing [default: ./compare-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Rows to measure
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,3,4,5,6")]
    pub(crate) rows: Vec<u8>,
    /// Rounds; each runs everything once, and the figures are medians over the rounds
    #[arg(long, value_name = "R", default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Time measured per round
    #[arg(long, value_name = "N", default_value_t = 0.3)]
    pub(crate) seconds: f64,
    /// Time of the sustained load of row 5, in one piece
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    pub(crate) sustained: f64,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw the results here
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Seed of the payload bytes [default: random]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// One tiny round, to check that everything works; the figures mean nothing
    #[arg(long)]
    pub(crate) quick: bool,
}

/// Durations and sizes of the measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
    pub(crate) sustained: Duration,
    /// Number of appends of a measurement that is not durable.
    pub(crate) lazy_appends: u64,
    /// Size of Seawall's segments, in bytes.
    pub(crate) segment_bytes: u32,
    /// Size of Seawall's segments for rows with large records, in bytes.
    pub(crate) large_segment_bytes: u32,
    /// Size of the files of the raw writes, of the bare group commit and of okaywal, in bytes.
    pub(crate) medium_bytes: u32,
    /// Size of raft-engine's files, in bytes; 128 MiB is its default.
    pub(crate) raft_engine_file_bytes: u64,
}

impl Args {
    /// The directory to measure in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new(DEFAULT_DIR))
    }

    pub(crate) fn spot(&self) -> Spot<'_> {
        Spot { tool: "compare", dir: self.dir(), is_default: self.dir.is_none() }
    }

    pub(crate) fn scale(&self) -> Scale {
        if self.quick {
            return Scale {
                rounds: 1,
                window: Duration::from_millis(20),
                sustained: Duration::from_millis(50),
                lazy_appends: 2000,
                segment_bytes: 4 << 20,
                large_segment_bytes: 4 << 20,
                medium_bytes: 4 << 20,
                raft_engine_file_bytes: 4 << 20,
            };
        }
        Scale {
            rounds: self.rounds,
            window: Duration::from_secs_f64(self.seconds),
            sustained: Duration::from_secs_f64(self.sustained),
            lazy_appends: 400_000,
            segment_bytes: 64 << 20,
            large_segment_bytes: 128 << 20,
            medium_bytes: 64 << 20,
            raft_engine_file_bytes: 128 << 20,
        }
    }

    /// Refuses values that cannot be measured.
    pub(crate) fn check(&self) -> Result<()> {
        for row in &self.rows {
            ensure!((1..=ROWS_MAX).contains(row), "--rows has {row}: there are rows 1 to {ROWS_MAX}");
        }
        ensure!((1..=ROUNDS_MAX).contains(&self.rounds), "--rounds is {}: 1 to {ROUNDS_MAX}", self.rounds);
        for (option, seconds) in [("--seconds", self.seconds), ("--sustained", self.sustained)] {
            let sound = seconds > 0.0 && seconds <= SECONDS_MAX;
            ensure!(sound, "{option} is {seconds}: more than 0, at most {SECONDS_MAX}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_with_the_option_named() {
        Args::parse_from(["compare"]).check().unwrap();
        for (line, option) in [
            ("compare --rows 7", "--rows"),
            ("compare --rows 1,0", "--rows"),
            ("compare --rounds 0", "--rounds"),
            ("compare --seconds 0", "--seconds"),
            ("compare --sustained NaN", "--sustained"),
        ] {
            let message = Args::parse_from(line.split(' ')).check().unwrap_err().to_string();
            assert!(message.contains(option), "{line}: {message}");
        }
    }
}
