//! Checks the rules of recovery by enumerating every state of small logs.
//!
//! A state is what the disk holds, what a process has in flight, and what was promised. The model takes every
//! step that is possible in every state: appends, completions in any order, power cuts with every subset of
//! the blocks that were in flight, one damage, opens. Every open is checked against the promises
//! of `docs/durability.md`. `README.md` says how to run it.

mod fault;
mod log;
mod process;
mod recovery;
mod runs;
mod search;

use runs::{Expect, Run, Set};
use search::explore::explore;
use std::process::ExitCode;

const USAGE: &str = "usage: seawall-model short | long | list | NAME ..
  short   every wrong wording, and the right rules in small scopes
  long    the same, and the right rules in large scopes
  list    the names of all runs
  NAME    one run, with the trace of a refutation; a name that ends in * stands for all that begin so
  SEAWALL_STATES=N stops each run after N states (default 60000000)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = runs::all();
    let (chosen, traces): (Vec<&Run>, bool) = match arguments.first().map(String::as_str) {
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
        Some("list") => {
            for run in &all {
                println!("{:28} {}", run.name, run.about);
            }
            return ExitCode::SUCCESS;
        }
        Some("short") => (all.iter().filter(|run| run.set == Set::Short).collect(), false),
        Some("long") => (all.iter().collect(), false),
        Some(_) => {
            (all.iter().filter(|run| arguments.iter().any(|name| is_named(run, name))).collect(), true)
        }
    };
    if chosen.is_empty() {
        eprintln!("no run has this name\n{USAGE}");
        return ExitCode::from(2);
    }
    let states_max = std::env::var("SEAWALL_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(60_000_000);
    report(&chosen, traces, states_max)
}

fn is_named(run: &Run, name: &str) -> bool {
    name.strip_suffix('*').map_or(run.name == name, |start| run.name.starts_with(start))
}

/// Runs them, prints a line for each, and fails if one of them does not show what it has to.
fn report(chosen: &[&Run], traces: bool, states_max: u64) -> ExitCode {
    let (mut wrong, mut states, mut opens, mut seconds) = (0, 0, 0, 0.0);
    for run in chosen {
        let found = explore(&run.case, states_max);
        let tally = found.tally;
        let as_expected = match run.expect {
            Expect::Holds => found.violation.is_none() && found.complete,
            Expect::Refuted => found.violation.is_some(),
        };
        wrong += u32::from(!as_expected);
        states += found.states;
        opens += tally.opens;
        seconds += found.time.as_secs_f64();
        let verdict = match (&found.violation, found.complete) {
            (Some(violation), _) => format!("refuted in {} steps", violation.steps),
            (None, true) => "holds".to_owned(),
            (None, false) => "not complete".to_owned(),
        };
        let mark = if as_expected { "" } else { "UNEXPECTED: " };
        println!(
            "{mark}{:28} {verdict:20} {:9} states {:6.1} s",
            run.name,
            found.states,
            found.time.as_secs_f64()
        );
        if traces || !as_expected {
            println!("  {}", run.about);
            println!("  {} steps, longest way {}, {} opens", found.steps, found.depth, tally.opens);
            println!(
                "  of damaged logs: {} refused, {} without loss, {} undecidable (at most {} groups), {} revived",
                tally.refused, tally.harmless, tally.undecidable, tally.lost_at_most, tally.revived
            );
            if let Some(violation) = &found.violation {
                println!("  {}", violation.what);
                for line in &violation.trace {
                    println!("  {line}");
                }
            }
        }
    }
    println!("{} runs, {states} states, {opens} opens, {seconds:.1} s, {wrong} unexpected", chosen.len());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
