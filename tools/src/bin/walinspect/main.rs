//! `walinspect`: shows whether a log is sound, and if not, what is lost.
//!
//! It changes no file and takes no lock; it does not cut a torn tail. A running process may have the log open.
//!
//! The files in the order of a run: `args` → `look` (one scan) → `tally`, `judge` (classify) → `damage`, `ops` (name the
//! entries) → `summary`, `records`, `verify`, `modes` → `report`. Exit codes: see [`look::Outcome`] and [`failure`].

#![forbid(unsafe_code)]

mod args;
mod damage;
mod failure;
mod judge;
mod look;
mod modes;
mod ops;
mod records;
mod report;
mod summary;
mod tally;
mod verify;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::look::{Look, Outcome};
use clap::Parser;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // The user asked for help or the version; any other error is a call that could not be carried out. clap's
            // own exit code for that is 2, which means damage here.
            let asked_for = !e.use_stderr();
            let _ = e.print();
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(failure::COULD_NOT) };
        }
    };
    match run(&cli.command) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(failure) => {
            if let Some(text) = failure.text() {
                eprintln!("walinspect: {text}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run(command: &Command) -> Result<Outcome, Failure> {
    let look = Look::take(command.dir())?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = match command {
        Command::Summary(target) => summary::show(&look, target, &mut out),
        Command::Records(args) => records::show(&look, args, &mut out),
        Command::Verify(target) => verify::show(&look, target, &mut out),
        Command::Report(target) => modes::show(&look, target, &mut out),
    };
    match written.and_then(|()| out.flush().map_err(Failure::from)) {
        // A reader such as `head` has closed the output; the verdict is the same.
        Ok(()) | Err(Failure::NobodyReads) => Ok(look.outcome()),
        Err(failure) => Err(failure),
    }
}
