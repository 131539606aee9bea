//! `seawall-policies`: compares how a log chooses to write with every fixed way to write, on devices and under loads that
//! are arithmetic.
//!
//! `device` and `load` say when writes end and when records arrive. `simulated` runs a real log with them on a simulated
//! clock: those figures do not depend on the machine. `threads` runs a log with its own threads, in real time, on a
//! `timed_disk`, with loads that are threads too. `report` prints and draws the grid.

mod device;
mod load;
mod report;
mod simulated;
mod threads;
mod timed_disk;

use crate::simulated::{Cell, Figures, IN_FLIGHT};
use anyhow::{Context, Result, anyhow};
use clap::Parser;
use rustix::thread::set_current_timer_slack;
use seawall_wal::testing::write_plans::{self, WritePlan};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Compares how a log chooses to write with every fixed way to write
#[derive(Parser, Clone, Debug)]
#[command(name = "seawall-policies", version)]
struct Args {
    /// Only the cells whose name contains this, such as "85 us, 1 queue" or "think time"
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Print the figures of every fixed way too
    #[arg(long)]
    all: bool,
    /// Draw the grid here
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Run in real time, with real threads, on files in this directory, which should be in memory (/dev/shm)
    #[arg(long, value_name = "DIR")]
    threads: Option<PathBuf>,
    /// With --threads: number of trial windows that a log gets before it is measured
    #[arg(long, default_value_t = 300)]
    windows: u32,
    /// With --threads: number of cells that run at the same time. More than 1 suits devices that are slow enough to leave the
    /// processors idle
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Seed of the random arrivals
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("seawall-policies: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The figures of one cell.
#[derive(Clone, Debug)]
struct Outcome {
    cell: Cell,
    /// Of each plan, if it is the only one.
    fixed: Vec<(WritePlan, Figures)>,
    /// Of a log that chooses.
    own: Figures,
    /// Of the best fixed plan, once more; only in real time.
    again: Option<Figures>,
}

impl Outcome {
    /// The best fixed plan: of those whose rate is within 2 % of the highest, the one with the lowest p99.
    fn best(&self) -> Option<&(WritePlan, Figures)> {
        let highest = self.fixed.iter().map(|(_, f)| f.rate).fold(0.0, f64::max);
        let near = self.fixed.iter().filter(|(_, f)| f.rate >= highest * 0.98);
        near.min_by(|(_, a), (_, b)| a.p99_us.total_cmp(&b.p99_us))
    }

    /// The rate and the p99 of the log's own choice over those of the best fixed plan.
    fn ratios(&self) -> Option<(f64, f64)> {
        let (_, best) = self.best()?;
        Some((self.own.rate / best.rate, self.own.p99_us / best.p99_us))
    }

    /// The same of the second run of the best fixed plan: how far a run differs from itself.
    fn spread(&self) -> Option<(f64, f64)> {
        let ((_, best), again) = (self.best()?, self.again?);
        Some((again.rate / best.rate, again.p99_us / best.p99_us))
    }
}

fn compare(args: &Args) -> Result<()> {
    let cells: Vec<Cell> = device::devices()
        .into_iter()
        .flat_map(|device| load::LOADS.map(|load| Cell { device, load }))
        .filter(|cell| format!("{}, {}", cell.device, cell.load).contains(&args.only))
        .collect();
    // Waits for simulated devices are exact to a few microseconds with this, and to 50 without.
    set_current_timer_slack(NonZeroU64::new(1)).context("set the timer slack")?;
    let outcomes = run_all(&cells, args)?;
    print!("{}", report::table(&outcomes, args.all));
    args.svg.as_deref().map_or(Ok(()), |path| report::draw(path, &outcomes))
}

/// Runs all cells, simulated ones on all processors.
fn run_all(cells: &[Cell], args: &Args) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Outcome)>> {
        let mut outcomes = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&cell) = cells.get(at) else { return Ok(outcomes) };
            outcomes
                .push((at, run(cell, at, args).with_context(|| format!("{}, {}", cell.device, cell.load))?));
        }
    };
    let mut outcomes = thread::scope(|scope| -> Result<Vec<(usize, Outcome)>> {
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        let count = if args.threads.is_some() { args.jobs.max(1) } else { processors() };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        let mut outcomes = Vec::new();
        for thread in threads {
            outcomes.extend(thread.join().map_err(|_| anyhow!("a simulation panicked"))??);
        }
        Ok(outcomes)
    })?;
    outcomes.sort_by_key(|(at, _)| *at);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Runs the cell number `at` with each fixed plan, and with all of them to choose from.
fn run(cell: Cell, at: usize, args: &Args) -> Result<Outcome> {
    let once = |plans| match &args.threads {
        Some(dir) => threads::run(&dir.join(format!("cell-{at}")), cell, plans, args.windows, args.seed),
        None => simulated::run(cell, plans, args.seed),
    };
    let plans = write_plans::all(IN_FLIGHT);
    let fixed = plans.into_iter().map(|plan| Ok((plan, once(Some(vec![plan]))?)));
    let mut outcome = Outcome { cell, fixed: fixed.collect::<Result<_>>()?, own: once(None)?, again: None };
    if args.threads.is_some()
        && let Some(&(best, _)) = outcome.best()
    {
        outcome.again = Some(once(Some(vec![best]))?);
        eprintln!("{}, {}: {:?}", cell.device, cell.load, outcome.ratios());
    }
    Ok(outcome)
}
