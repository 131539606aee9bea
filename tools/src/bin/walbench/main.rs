//! `walbench`: how long a durable append takes, beside what the device itself needs for the same bytes.
//!
//! Three things are measured in one run, interleaved: raw durable writes (the *floor*), a group commit
//! without a log around it (*bare*), and the log. The files follow a run: `args` → `place` (where) →
//! `run` (what, in which order) → `load` (who appends) → `floor`, `bare`, `log` (to what) → `report`.
//! Every failure is one message on stderr and exit code 1; usage errors are exit code 2.

mod args;
mod bare;
mod floor;
mod load;
mod log;
mod machine;
mod medium;
mod place;
mod report;
mod run;

use crate::args::{Cli, RunArgs};
use crate::place::Place;
use anyhow::Result;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match bench(Cli::parse().into_run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("walbench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: RunArgs) -> Result<()> {
    args.check()?;
    args.json.as_deref().map_or(Ok(()), report::check_json)?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(|e| anyhow::anyhow!("no random seed from the system: {e}"))?,
    };
    let place = Place::prepare(&args)?;
    let machine = machine::describe(place.scratch(), seed)?;
    report::say(&report::heading(&args, &machine))?;
    let rows = run::run(&args, &place, seed)?;
    // Nothing that can still fail needs the files.
    drop(place);
    report::say(&report::table(&rows))?;
    report::say(&report::warnings(&rows, &machine))?;
    if let Some(path) = &args.json {
        report::write_json(path, &machine, &rows)?;
    }
    Ok(())
}
