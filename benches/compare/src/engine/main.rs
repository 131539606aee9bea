//! `compare-engine`: measures Seawall's engine and raft-engine under the same loads, on one disk, in one process; and a
//! Raft node on Seawall next to raw writes.
//!
//! There is one subcommand per row. The files in the order of a run: `args` → `rows` (bars) → `load` (appending
//! threads) → `store` (the engines) → `turns` (rounds, medians, ratios) → `report`; `heap` counts memory. A bar that is
//! missed is a result, not a failure: the exit code is 1 only if a measurement could not be made.

mod args;
mod heap;
mod load;

mod report;
mod rows;
mod store;
mod turns;

use crate::args::{Common, Site};
use crate::rows::Row;
use anyhow::{Context, Result};
use clap::Parser;
use seawall_harness::place::Place;
use seawall_harness::{machine, text};
use std::process::ExitCode;

/// Measures Seawall's engine next to raft-engine, on one disk.
#[derive(Parser, Clone, Debug)]
#[command(name = "compare-engine", version)]
struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    row: Row,
}

fn main() -> ExitCode {
    match compare(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("compare-engine: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: Args) -> Result<()> {
    let Args { common, mut row } = args;
    common.check()?;
    if row.run_alone()? {
        return Ok(());
    }
    let rounds = if common.quick { 1 } else { common.rounds };
    if common.quick {
        row = row.tiny();
    }
    if let Some(file) = &common.json {
        text::check_json(file)?;
    }
    let seed = match common.seed {
        Some(seed) => seed,
        None => getrandom::u64().context("no random seed from the system")?,
    };
    let place = Place::prepare(&common.spot(), row.needed_bytes())?;
    let machine = machine::describe(place.scratch(), seed)?;
    let segment_bytes = seawall::Options::default().log.segment_bytes;
    text::say(&report::heading(&machine, common.dir(), segment_bytes, rounds))?;
    let outcomes = row.run(&Site { dir: place.scratch(), rounds, seed })?;
    // Nothing after this point needs the files.
    drop(place);
    for outcome in &outcomes {
        text::say(&report::table(outcome))?;
    }
    text::say(&report::verdict(&outcomes, &machine, common.quick))?;
    let json = common.json.as_deref();
    json.map_or(Ok(()), |path| report::write_json(path, &machine, rounds, common.quick, &outcomes))
}
