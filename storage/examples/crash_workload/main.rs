//! Runs a workload for power cuts, and verifies the state that remains.
//!
//! ```text
//! crash_workload run DIR [options]            creates an engine in DIR and writes; prints what is durable
//! crash_workload verify DIR ACKS [options]    opens it, checks it against those lines, and continues to write
//! ```
//!
//! The options, which must be the same for both: `--seed N`, `--threads N`, `--groups N` (of each thread),
//! `--strategy auto|direct|sync`, `--segment-bytes N`, `--ops N` (batches of each thread), `--reopens N`,
//! `--window N`, `--payload-max N`, `--backend auto|posix|io-uring`, `--snapshots on|off`.
//!
//! Several threads write atomic batches over their groups: appends, overwritten suffixes, hard states, conf
//! states, compactions, the starts of groups after snapshots, and removals. Segments are so small that
//! rotation and release happen constantly. In between, the engine is closed or dropped and opened again.
//! After its check the verifier does the same, and it also prints what is durable, so it can be interrupted
//! and verified in turn.
//!
//! With `--snapshots on` another workload runs: one group with snapshots next to its log (`snapshots.rs`).
//!
//! Exit status: 0 for success; 1 if a promise is broken, which standard error names; 2 if the program could
//! not run.

mod acks;
mod check;
mod life;
mod plan;
#[path = "../../tests/engine/model/reference.rs"]
mod reference;
mod snapshots;

use acks::{Acks, History};
use check::adopt;
use life::{End, live};
use plan::Plan;
use seawall::{Engine, Error};
use seawall_wal::inspect::{inspect, inspect_as_open};
use seawall_wal::{Backend, Env, Strategy};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Batches that the verifier writes per thread in each of its lives.
const VERIFIER_BATCHES: [u64; 2] = [6, 2];

enum Command {
    Run,
    Verify(PathBuf),
}

fn main() -> ExitCode {
    let (command, dir, plan) = match parse() {
        Ok(parsed) => parsed,
        Err(why) => {
            eprintln!("crash_workload: {why}");
            return ExitCode::from(2);
        }
    };
    let result = match command {
        Command::Run if plan.snapshots => snapshots::run(&plan, &dir),
        Command::Run => run(&plan, &dir),
        Command::Verify(acks) => match std::fs::read_to_string(&acks) {
            Ok(text) if plan.snapshots => snapshots::verify(&plan, &dir, &text),
            Ok(text) => verify(&plan, &dir, &text),
            Err(error) => {
                eprintln!("crash_workload: {}: {error}", acks.display());
                return ExitCode::from(2);
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("VIOLATION {why}");
            ExitCode::from(1)
        }
    }
}

fn run(plan: &Plan, dir: &Path) -> Result<(), String> {
    let acks = Arc::new(Acks::new(History::default()).map_err(|error| error.to_string())?);
    let mut engine = Engine::create(dir, &plan.options()).map_err(|error| format!("create: {error}"))?;
    let lives = plan.reopens + 1;
    for life in 0..lives {
        let batches = plan.ops * (life + 1) / lives - plan.ops * life / lives;
        let end = if life % 2 == 0 && life + 1 < lives { End::Drop } else { End::Close };
        go_on(plan, &acks, engine, batches, end)?;
        if life + 1 == lives {
            break;
        }
        engine = open(plan, dir)?;
    }
    Ok(())
}

fn verify(plan: &Plan, dir: &Path, text: &str) -> Result<(), String> {
    let threads = usize::try_from(plan.threads).map_err(|error| error.to_string())?;
    let history = History::parse(text, threads)?;
    agree(plan, dir)?;
    let mut engine = match Engine::open(dir, &plan.options()) {
        Ok((engine, _)) => engine,
        // The power was cut before the log was created, and nothing was acknowledged.
        Err(Error::Log(seawall_wal::Error::NotALog { .. })) if history.lives.is_empty() => {
            Engine::create(dir, &plan.options()).map_err(|error| format!("create: {error}"))?
        }
        Err(error) => return Err(format!("open refused: {error}")),
    };
    // The order changes with the number of lines, so that different power cuts test both ends.
    let ends =
        if history.lines.is_multiple_of(2) { [End::Close, End::Drop] } else { [End::Drop, End::Close] };
    let acks = Arc::new(Acks::new(history).map_err(|error| error.to_string())?);
    for (batches, end) in VERIFIER_BATCHES.into_iter().zip(ends) {
        go_on(plan, &acks, engine, batches, end)?;
        engine = open(plan, dir)?;
    }
    // Another open must come to the same result.
    adopt(plan, &acks.history(), &engine)?;
    engine.close().map_err(|error| format!("close: {error}"))
}

/// Checks that open, which does not read all of the log, comes to the same verdict as an inspection of all
/// bytes.
fn agree(plan: &Plan, dir: &Path) -> Result<(), String> {
    let conclude = |all: bool| {
        let disk = Env::posix(dir, &plan.options().log)?.disk;
        let found = if all { inspect(&*disk)? } else { inspect_as_open(&*disk)? };
        Ok(found.verdict.map(|mut verdict| {
            // Open does not count the kept groups; this is the only difference.
            verdict.kept.iter_mut().for_each(|kept| kept.groups = None);
            verdict
        }))
    };
    match (conclude(false), conclude(true)) {
        (Ok(quick), Ok(whole)) if quick == whole => Ok(()),
        (Ok(quick), Ok(whole)) => Err(format!("open concludes {quick:?}, all of it {whole:?}")),
        (Err(seawall_wal::Error::NotALog { .. }), _) => Ok(()),
        (Err(error), _) | (_, Err(error)) => Err(format!("inspect: {error}")),
    }
}

fn open(plan: &Plan, dir: &Path) -> Result<Engine, String> {
    let (engine, _) = Engine::open(dir, &plan.options()).map_err(|error| format!("open refused: {error}"))?;
    Ok(engine)
}

/// Checks the contents of `engine`, prints them as durable, and lets it live for a while.
fn go_on(plan: &Plan, acks: &Arc<Acks>, engine: Engine, batches: u64, end: End) -> Result<(), String> {
    let states = adopt(plan, &acks.history(), &engine)?;
    let shown: Vec<u64> = states.iter().map(|state| state.next).collect();
    acks.open(&shown)?;
    live(plan, acks, engine, states, batches, end)
}

fn parse() -> Result<(Command, PathBuf, Plan), String> {
    let usage = "usage: crash_workload run DIR | verify DIR ACKS [--seed N] [--strategy auto|direct|sync] ..";
    let (mut plan, mut places) = (Plan::default(), Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            places.push(word);
            continue;
        }
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word}: `{value}` is not a number"));
        let small = |max: u64| match number()? {
            n if (1..=max).contains(&n) => Ok(n),
            n => Err(format!("{word}: {n} is not 1 to {max}")),
        };
        match word.as_str() {
            "--seed" => plan.seed = number()?,
            "--threads" => plan.threads = small(64)?,
            "--groups" => plan.groups = small(1000)?,
            "--ops" => plan.ops = small(1 << 20)?,
            "--reopens" => plan.reopens = number()?,
            "--window" => plan.window = small(1000)?,
            "--segment-bytes" => plan.segment_bytes = narrow(small(1 << 30)?)?,
            "--payload-max" => plan.payload_max = narrow(small(60_000)?)?,
            "--snapshots" => {
                plan.snapshots = match value.as_str() {
                    "on" => true,
                    "off" => false,
                    _ => return Err(format!("{word} is on or off, not {value}")),
                }
            }
            "--strategy" => {
                plan.strategy = match value.as_str() {
                    "auto" => Strategy::Auto,
                    "direct" => Strategy::Direct,
                    "sync" => Strategy::Sync,
                    _ => return Err(format!("no strategy is called {value}")),
                }
            }
            "--backend" => {
                plan.backend = match value.as_str() {
                    "auto" => Backend::Auto,
                    "posix" => Backend::Posix,
                    "io-uring" => Backend::IoUring,
                    _ => return Err(format!("no backend is called {value}")),
                }
            }
            _ => return Err(format!("unknown option {word}; {usage}")),
        }
    }
    // Three operations of at most four entries each must fit into one record.
    if u64::from(plan.payload_max) * 12 + (16 << 10) > u64::from(plan.segment_bytes) {
        return Err("a segment must have room for a batch: 12 times --payload-max, and 16 KiB".to_owned());
    }
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    match places[..] {
        ["run", dir] => Ok((Command::Run, dir.into(), plan)),
        ["verify", dir, acks] => Ok((Command::Verify(acks.into()), dir.into(), plan)),
        _ => Err(usage.to_owned()),
    }
}

fn narrow(number: u64) -> Result<u32, String> {
    u32::try_from(number).map_err(|error| error.to_string())
}
