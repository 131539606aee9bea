//! Options that several commands share, and the options of `run`, with their defaults and checks.
//!
//! clap refuses bad syntax as a usage error. `check` refuses values that need a reason.

use crate::floor::framed_bytes;
use crate::place::Spot;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use seawall_wal::Options;
use serde::Serialize;
use std::path::{Path, PathBuf};

const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
/// Largest payload of one append.
const BYTES_MAX: usize = 16 << 20;
const SEGMENT_BYTES_MIN: u32 = 1 << 20;
const SEGMENT_BYTES_MAX: u32 = 2 << 30;
const THREADS_MAX: usize = 1024;
const IN_FLIGHT_MAX: usize = 1 << 16;
pub(crate) const ROUNDS_MAX: usize = 1000;
const ROTATIONS_MAX: usize = 1_000_000;
const SECONDS_MAX: f64 = 86_400.0;
/// Default payload sizes of one append, in bytes.
const BYTES: [usize; 3] = [128, 1024, 16384];
const ROTATIONS_BYTES: [usize; 1] = [16384];
/// Segment sizes are a multiple of this, in bytes: the largest block size that a device is expected to have.
const SEGMENT_GRAIN: u32 = 64 << 10;

/// Default directory. It is created if missing and removed again after the run.
pub(crate) const DEFAULT_DIR: &str = "walbench-data";

/// The directory to measure in.
#[derive(Args, Clone, Debug)]
pub(crate) struct Where {
    /// Directory to measure in; created if missing [default: ./walbench-data]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Where {
    /// The directory to measure in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new(DEFAULT_DIR))
    }

    /// The same directory, as the place to make a subdirectory in.
    pub(crate) fn spot(&self) -> Spot<'_> {
        Spot { tool: "walbench", dir: self.dir(), is_default: self.dir.is_none() }
    }
}

/// How the log and the bare group commit are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Strategy {
    /// Direct where the file system supports it well, otherwise sync.
    Auto,
    /// O_DIRECT writes, each durable by itself.
    Direct,
    /// Buffered writes, then fdatasync.
    Sync,
}

impl Strategy {
    /// Options of a log that is written with this strategy, with segments of that size.
    pub(crate) fn options(self, segment_bytes: u32) -> Options {
        let strategy = match self {
            Strategy::Auto => seawall_wal::Strategy::Auto,
            Strategy::Direct => seawall_wal::Strategy::Direct,
            Strategy::Sync => seawall_wal::Strategy::Sync,
        };
        Options::default().with_segment_bytes(segment_bytes).with_strategy(strategy)
    }
}

/// How the log's writes are carried out. A waiting thread that writes its own group uses POSIX calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Backend {
    /// io_uring where the kernel allows it, otherwise POSIX calls.
    Auto,
    /// POSIX calls.
    Posix,
    /// io_uring.
    IoUring,
}

impl Backend {
    /// The value of the log's option `backend`.
    pub(crate) fn option(self) -> seawall_wal::Backend {
        match self {
            Backend::Auto => seawall_wal::Backend::Auto,
            Backend::Posix => seawall_wal::Backend::Posix,
            Backend::IoUring => seawall_wal::Backend::IoUring,
        }
    }
}

/// The load: how many threads append, with how many appends in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Load {
    /// One thread, one append at a time.
    Lone,
    /// One thread with several appends in flight.
    Inflight,
    /// Several threads, each with one append at a time and its own key.
    Threads,
    /// Several threads, each with several appends in flight and its own key.
    Groups,
    /// Like `lone`, but for a number of segments instead of a time, with its own floor.
    Rotations,
}

/// Options of `walbench run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Time measured per row, over all rounds; `rotations` takes the time that it needs
    #[arg(long, value_name = "N", default_value_t = 0.6)]
    pub(crate) seconds: f64,
    /// Rounds; each runs every row once, and the figures are medians over the rounds
    #[arg(long, value_name = "R", default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Payload sizes of one append [default: 128,1024,16384; for `rotations` 16384]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_bytes)]
    bytes: Vec<usize>,
    /// Numbers of threads for the rows `threads` and `groups`
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4,16,64")]
    pub(crate) threads: Vec<usize>,
    /// Appends in flight per thread for the rows `inflight` and `groups`
    #[arg(long, value_name = "K", default_value_t = 32)]
    pub(crate) in_flight: usize,
    /// Size of a segment of the log, and of the files of the floor and of the bare group commit
    #[arg(long, value_name = "SIZE", value_parser = parse_segment_bytes, default_value = "64MiB")]
    pub(crate) segment_bytes: u32,
    /// Longest time that a waiting thread of the log's rows yields before it sleeps, in microseconds; 0: no yield
    #[arg(long, value_name = "US", default_value_t = seawall_wal::Options::default().yield_max_us)]
    pub(crate) yield_max_us: u32,
    /// Make a new log for each row of the log in each round, whose segments are still being zeroed
    #[arg(long)]
    pub(crate) fresh: bool,
    /// How the log and the bare group commit are written
    #[arg(long, value_enum, default_value_t = Strategy::Auto)]
    pub(crate) strategy: Strategy,
    /// Backends of the log; each gets its own rows
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", default_value = "auto")]
    pub(crate) backend: Vec<Backend>,
    /// Loads to run
    #[arg(
        long,
        value_name = "LIST",
        value_enum,
        value_delimiter = ',',
        default_value = "lone,inflight,threads"
    )]
    pub(crate) rows: Vec<Load>,
    /// Least number of segments that the row `rotations` goes through, over all rounds
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) rotations: usize,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Seed of the payload bytes [default: random]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

impl RunArgs {
    /// Whether the run includes a load other than `rotations`.
    pub(crate) fn has_timed_rows(&self) -> bool {
        self.rows.iter().any(|&load| load != Load::Rotations)
    }

    /// Payload sizes for `load`.
    pub(crate) fn bytes(&self, load: Load) -> &[usize] {
        match (self.bytes.as_slice(), load) {
            ([], Load::Rotations) => &ROTATIONS_BYTES,
            ([], _) => &BYTES,
            (named, _) => named,
        }
    }

    /// Largest payload of all rows.
    pub(crate) fn bytes_max(&self) -> usize {
        self.rows.iter().flat_map(|&load| self.bytes(load)).copied().max().unwrap_or(0)
    }

    /// Segment rotations per round of the load `rotations`.
    pub(crate) fn rotations_per_round(&self) -> usize {
        self.rotations.div_ceil(self.rounds)
    }

    /// Refuses values that cannot be measured, with the reason.
    pub(crate) fn check(&self) -> Result<()> {
        check_seconds(self.seconds)?;
        check_range("--rounds", self.rounds, ROUNDS_MAX)?;
        check_range("--in-flight", self.in_flight, IN_FLIGHT_MAX)?;
        for &threads in &self.threads {
            check_range("--threads", threads, THREADS_MAX)?;
        }
        for &bytes in &self.bytes {
            check_bytes(bytes)?;
        }
        check_range("--rotations", self.rotations, ROTATIONS_MAX)?;
        check_segment(self.segment_bytes, self.bytes_max())
    }
}

/// Refuses a segment size that the log does not allow, or that cannot hold two appends of `bytes`.
pub(crate) fn check_segment(segment: u32, bytes: usize) -> Result<()> {
    ensure!(
        (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment) && segment.is_multiple_of(SEGMENT_GRAIN),
        "--segment-bytes is {segment}, must be a multiple of {SEGMENT_GRAIN} between {SEGMENT_BYTES_MIN} \
         and {SEGMENT_BYTES_MAX}"
    );
    // Half a segment, so that a header, a footer and a few appends fit next to the largest append.
    ensure!(
        framed_bytes(bytes) as u64 <= u64::from(segment / 2),
        "--bytes {bytes} does not fit into --segment-bytes {segment}: a segment must hold two of the \
         largest append; use --segment-bytes {} or more",
        (framed_bytes(bytes) as u64 * 2).next_multiple_of(u64::from(SEGMENT_GRAIN))
    );
    Ok(())
}

/// Refuses a payload that is empty or too large.
pub(crate) fn check_bytes(bytes: usize) -> Result<()> {
    check_range("--bytes", bytes, BYTES_MAX)
}

pub(crate) fn check_seconds(seconds: f64) -> Result<()> {
    let sane = seconds > 0.0 && seconds <= SECONDS_MAX;
    ensure!(sane, "--seconds is {seconds}, must be more than 0 and at most {SECONDS_MAX}");
    Ok(())
}

pub(crate) fn check_range(option: &str, value: usize, max: usize) -> Result<()> {
    ensure!(value >= 1 && value <= max, "{option} is {value}, must be between 1 and {max}");
    Ok(())
}

/// Parses a number of bytes with an optional suffix `KiB`, `MiB` or `GiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let unit = match suffix.trim() {
        "" | "B" => 1,
        "KiB" | "K" | "k" => KIB,
        "MiB" | "M" => MIB,
        "GiB" | "G" => 1 << 30,
        other => return Err(format!("unknown unit `{other}`: use none, KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    usize::try_from(parse_size(text)?).map_err(|_| "too large".to_owned())
}

pub(crate) fn parse_segment_bytes(text: &str) -> Result<u32, String> {
    u32::try_from(parse_size(text)?).map_err(|_| "too large: at most 2 GiB".to_owned())
}
