//! The command line: commands and options, and the parsers of positions and segments.
//!
//! Positions are read in the printed form, `ssssssss:oooooooo` in hexadecimal; leading zeros may be omitted. A bad
//! argument is refused with the name of its option before anything is opened.

use clap::{Args, Parser, Subcommand};
use seawall_wal::Lsn;
use std::path::{Path, PathBuf};

const EXIT_CODES: &str = "\
Exit codes:
  0  sound
  1  no verdict: not a log, not readable, another format version, wrong arguments
  2  damaged: a normal open refuses this log. Run `verify` for the places, `report` for the
     modes that still open it
  3  torn tail: normal after a crash. The next open drops an unfinished write; nothing
     acknowledged is lost";

/// Shows what a Seawall log holds and whether it is sound; changes nothing.
#[derive(Parser, Debug)]
#[command(name = "walinspect", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The view to show.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Owner, segments, end of the log, and what the next open would drop
    Summary(Target),
    /// One line per record
    Records(RecordsArgs),
    /// Check every byte and name every damaged place
    Verify(Target),
    /// Show the result of an open in each mode (strict, degraded, salvage), without opening
    Report(Target),
}

impl Command {
    /// The log's directory.
    pub(crate) fn dir(&self) -> &Path {
        match self {
            Command::Summary(target) | Command::Verify(target) | Command::Report(target) => &target.dir,
            Command::Records(args) => &args.target.dir,
        }
    }
}

/// The log to show, and the form of the output.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// Directory of the log
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `walinspect records`.
#[derive(Args, Debug)]
pub(crate) struct RecordsArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Start at this position, such as 00000002:00001040
    #[arg(long, value_name = "LSN", value_parser = parse_lsn)]
    pub(crate) from: Option<Lsn>,
    /// Print at most this many lines
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// This segment: decimal number (31) or file name (0000001f.wal)
    #[arg(long, value_name = "S", value_parser = parse_segment)]
    pub(crate) segment: Option<u32>,
    /// Only records of this Raft group (number)
    #[arg(long, value_name = "G")]
    pub(crate) group: Option<u64>,
    /// Also show records outside the log: dropped by the next open, dropped by an earlier one (void), released
    #[arg(long)]
    pub(crate) all: bool,
}

/// Parses a position in the printed form.
pub(crate) fn parse_lsn(text: &str) -> Result<Lsn, String> {
    let wrong = || "not a position: use ssssssss:oooooooo, both in hexadecimal".to_owned();
    let (segment, offset) = text.split_once(':').ok_or_else(wrong)?;
    let half = |digits: &str| {
        let hex = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| hex).ok_or_else(wrong)
    };
    Ok(Lsn::new(half(segment)?, half(offset)?))
}

/// Parses a segment: its decimal number, or its file name, which is hexadecimal.
fn parse_segment(text: &str) -> Result<u32, String> {
    let number = match text.strip_suffix(".wal") {
        Some(digits) if digits.len() == 8 => u32::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    };
    number
        .filter(|&n| n > 0)
        .ok_or_else(|| "neither a number from 1 nor a file name like 0000001f.wal".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_printed() {
        let lsn = Lsn::new(31, 0x1040);
        assert_eq!(parse_lsn(&lsn.to_string()), Ok(lsn));
        assert_eq!(parse_lsn("1f:1040"), Ok(lsn));
        for bad in ["", ":", "1", "1:", ":1", "+1:0", "000000001:0", "1:0:0", "g:0", " 1:0"] {
            assert!(parse_lsn(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn segments_have_numbers_and_names() {
        assert_eq!(parse_segment("31"), Ok(31));
        assert_eq!(parse_segment("0000001f.wal"), Ok(31));
        for bad in ["0", "-1", "1f", "1f.wal", "00000000.wal", "4294967296", ""] {
            assert!(parse_segment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
