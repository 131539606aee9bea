//! `seawall-policies`: compares how a log chooses to write with every fixed way to write, on simulated devices and under
//! simulated loads.
//!
//! `device` and `load` say when writes end and when records arrive, `simulated` runs a real log with them on a simulated
//! clock, and `report` prints and draws the grid. The figures do not depend on the machine.

mod device;
mod load;
mod report;
mod simulated;

use crate::simulated::{Cell, Figures, IN_FLIGHT};
use anyhow::{Context, Result, anyhow};
use clap::Parser;
use seawall_wal::testing::write_plans::{self, WritePlan};
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
}

fn compare(args: &Args) -> Result<()> {
    let cells: Vec<Cell> = device::devices()
        .into_iter()
        .flat_map(|device| load::LOADS.map(|load| Cell { device, load }))
        .filter(|cell| format!("{}, {}", cell.device, cell.load).contains(&args.only))
        .collect();
    let outcomes = run_all(&cells, args.seed)?;
    print!("{}", report::table(&outcomes, args.all));
    args.svg.as_deref().map_or(Ok(()), |path| report::draw(path, &outcomes))
}

/// Runs all cells, on all processors.
fn run_all(cells: &[Cell], seed: u64) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Outcome)>> {
        let mut outcomes = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&cell) = cells.get(at) else { return Ok(outcomes) };
            outcomes.push((at, run(cell, seed).with_context(|| format!("{}, {}", cell.device, cell.load))?));
        }
    };
    let mut outcomes = thread::scope(|scope| -> Result<Vec<(usize, Outcome)>> {
        let count = thread::available_parallelism().map_or(1, usize::from);
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

fn run(cell: Cell, seed: u64) -> Result<Outcome> {
    let plans = write_plans::all(IN_FLIGHT);
    let fixed = plans.into_iter().map(|plan| Ok((plan, simulated::run(cell, Some(vec![plan]), seed)?)));
    Ok(Outcome { cell, fixed: fixed.collect::<Result<_>>()?, own: simulated::run(cell, None, seed)? })
}
