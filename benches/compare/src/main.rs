//! `compare`: measures Seawall's log and other durable logs under the same loads, on one disk, in one process.
//!
//! Raw durable writes and a group commit without a log run in the same rounds, so that every figure can be compared
//! with the device's own. The files in the order of a run: `args` → `plan` (rows, loads, bars) → `run` (rounds, counts)
//! → `engines` (targets) → `summary` (medians, ratios) → `report`, `plot`. Code shared with `walbench` is in
//! `seawall_harness`. A bar that is missed is a result, not a failure: the exit code is 1 only if a measurement
//! could not be made.

mod args;
mod engines;
mod load;
mod plan;
mod plot;
mod report;
mod run;
mod summary;

use crate::args::Args;
use anyhow::{Context, Result};
use clap::Parser;
use seawall_harness::device::Device;
use seawall_harness::load::payload;
use seawall_harness::place::Place;
use seawall_harness::{machine, text};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Largest payload of all rows, in bytes.
const PAYLOAD_BYTES: usize = 64 << 10;
/// Disk space for the files of one row, all engines together, in bytes.
const NEEDED_BYTES: u64 = 8 << 30;
const NEEDED_QUICK_BYTES: u64 = 512 << 20;

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("compare: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<()> {
    args.check()?;
    for file in [&args.json, &args.svg].into_iter().flatten() {
        text::check_json(file)?;
    }
    let seed = match args.seed {
        Some(seed) => seed,
        None => getrandom::u64().context("no random seed from the system")?,
    };
    let scale = args.scale();
    let place = Place::prepare(&args.spot(), if args.quick { NEEDED_QUICK_BYTES } else { NEEDED_BYTES })?;
    let machine = machine::describe(place.scratch(), seed)?;
    let device = Device::below(place.scratch()).ok();
    text::say(&report::heading(args, &scale, &machine))?;

    let payload = payload(seed, PAYLOAD_BYTES);
    let mut rows = Vec::new();
    let shows = std::io::stderr().is_terminal();
    for &row in &args.rows {
        let mut say = |doing: &str| {
            if shows {
                eprint!("\r\x1b[K{doing}");
                let _ = std::io::stderr().flush();
            }
        };
        let outcomes = run::row(row, place.scratch(), &scale, device.as_ref(), &payload, &mut say)?;
        say("");
        rows.extend(outcomes.iter().flat_map(summary::rows));
    }
    // Nothing after this point needs the files.
    drop(place);
    text::say(&report::table(&rows))?;
    text::say(&report::verdict(&rows, &machine, args.quick))?;
    if let Some(path) = &args.json {
        let device = device.as_ref().map(|device| device.name.as_str());
        report::write_json(path, args, &scale, &machine, device, &rows)?;
    }
    args.svg.as_deref().map_or(Ok(()), |path| plot::draw(path, &machine, &rows))
}
