//! `walbench`: measures how long a durable append takes, and how long the device itself needs for the same bytes.
//!
//! A run interleaves three kinds of rows: raw durable writes (the *floor*), a group commit without a log (*bare*), and
//! the log. The files in the order of a run: `cli`, `args` → `run` (measures) → `summary` (medians) → `report`.
//! Directories, loads and targets are in `seawall_harness`. Smaller commands have a file each: `first_ack`,
//! `open`, `device_writes`, `callback` and `calibrate`.
//!
//! A failure prints one message on stderr and exits with code 1; a usage error exits with code 2.

#![forbid(unsafe_code)]

mod args;
mod calibrate;
mod callback;
mod cli;
mod counters;
mod device_writes;
mod first_ack;
mod open;
mod report;
mod run;
mod spec;
mod summary;

use crate::args::RunArgs;
use crate::cli::{Cli, Command};
use crate::place::Place;
use anyhow::Result;
use clap::Parser;
use seawall_harness::{bare, device, floor, load, log, machine, medium, place, text};
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match Cli::parse().into_command() {
        Command::Run(args) => bench(&args),
        Command::FirstAck(args) => first_ack::bench(&args),
        Command::Open(args) => open::bench(&args),
        Command::DeviceWrites(args) => device_writes::bench(&args),
        Command::Calibrate(args) => calibrate::bench(&args),
        Command::Callback(args) => callback::bench(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("walbench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &RunArgs) -> Result<()> {
    args.check()?;
    args.json.as_deref().map_or(Ok(()), text::check_json)?;
    let seed = seed(args.seed)?;
    let files = place::MEDIUM_FILES + place::LOG_SEGMENTS * args.backend.len() as u64;
    let place = Place::prepare(&args.place.spot(), place::space_needed(files, args.segment_bytes))?;
    let machine = machine::describe(place.scratch(), seed)?;
    text::say(&report::heading(args, &machine))?;
    let rows = run::run(args, &place, seed)?;
    // Nothing after this point needs the files.
    drop(place);
    text::say(&report::table(&rows))?;
    text::say(&report::warnings(&rows, &machine))?;
    if let Some(path) = &args.json {
        report::write_json(path, &machine, &rows)?;
    }
    Ok(())
}

/// Returns the given seed, or a random one.
fn seed(given: Option<u64>) -> Result<u64> {
    match given {
        Some(seed) => Ok(seed),
        None => getrandom::u64().map_err(|e| anyhow::anyhow!("no random seed from the system: {e}")),
    }
}
