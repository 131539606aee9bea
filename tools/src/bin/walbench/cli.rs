//! The command line: the commands. Their options are in the file of each command.

use crate::args::RunArgs;
use crate::calibrate::CalibrateArgs;
use crate::callback::CallbackArgs;
use crate::device_writes::DeviceWritesArgs;
use crate::first_ack::FirstAckArgs;
use crate::open::OpenArgs;
use clap::{Parser, Subcommand};

/// Measures durable appends to a Seawall log, and the device's own floor for the same bytes.
#[derive(Parser, Debug)]
#[command(name = "walbench", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

/// The measurement to make.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Measure durable appends (the default).
    Run(RunArgs),
    /// Measure the time from creating or opening a log to its first acknowledgement.
    FirstAck(FirstAckArgs),
    /// Measure the time to open an engine, by its size.
    Open(OpenArgs),
    /// Count the device's writes and flushes for a durable append.
    DeviceWrites(DeviceWritesArgs),
    /// Measure the cost of learning about completions one by one.
    Callback(CallbackArgs),
    /// Measure which strategy, backend and depth suit a device, and explain the choice.
    Calibrate(CalibrateArgs),
}

impl Cli {
    /// The given command; `run` if there is none.
    pub(crate) fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{DEFAULT_DIR, Load};
    use std::path::Path;

    fn parse(line: &str) -> Result<RunArgs, clap::Error> {
        match Cli::try_parse_from(line.split_whitespace())?.into_command() {
            Command::Run(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        let args = parse("walbench").unwrap();
        args.check().unwrap();
        assert_eq!(args.bytes(Load::Lone), [128, 1024, 16384]);
        assert_eq!((args.bytes(Load::Rotations), args.bytes_max()), ([16384].as_slice(), 16384));
        assert_eq!((args.rotations, args.rotations_per_round()), (60, 12));
        assert_eq!(args.threads, [1, 4, 16, 64]);
        assert_eq!(args.segment_bytes, 64 << 20);
        assert_eq!(args.place.dir(), Path::new(DEFAULT_DIR));
    }

    #[test]
    fn run_may_be_spelled_out() {
        let args = parse("walbench run --rounds 2 --bytes 1KiB,1 --rows lone,groups").unwrap();
        assert_eq!((args.rounds, args.bytes(Load::Rotations)), (2, [1024, 1].as_slice()));
        assert_eq!(args.rows, [Load::Lone, Load::Groups]);
    }

    #[test]
    fn nonsense_is_refused_with_the_option_named() {
        for (line, option) in [
            ("walbench --seconds 0", "--seconds"),
            ("walbench --seconds=-1", "--seconds"),
            ("walbench --seconds NaN", "--seconds"),
            ("walbench --rounds 0", "--rounds"),
            ("walbench --threads 4,0", "--threads"),
            ("walbench --threads 100000", "--threads"),
            ("walbench --rotations 0", "--rotations"),
            ("walbench --in-flight 0", "--in-flight"),
            ("walbench --bytes 0", "--bytes"),
            ("walbench --bytes 16777217", "--bytes"),
            ("walbench --segment-bytes 4096", "--segment-bytes"),
            ("walbench --segment-bytes 1048577", "--segment-bytes"),
            ("walbench --segment-bytes 1MiB --bytes 1MiB", "does not fit"),
        ] {
            let message = parse(line).unwrap().check().unwrap_err().to_string();
            assert!(message.contains(option), "{line}: {message}");
        }
    }

    #[test]
    fn syntax_errors_are_left_to_clap() {
        for line in [
            "walbench --bytes many",
            "walbench --bytes 1TiB",
            "walbench --segment-bytes 4GiB",
            "walbench --rows all",
            "walbench --strategy fast",
            "walbench walk",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
