//! Runs the cases: makes the engines of a row, runs its lines in turn, round after round, and reads counters around
//! each.
//!
//! All engines of a row work below the same directory. Each round starts at another line, so that changes on the
//! machine affect all of them. After the last round every engine must have as many records as were appended, and must
//! return its last record after it is reopened.

use crate::args::Scale;
use crate::engines::{self, Engine, Seen};
use crate::load::Who;
use crate::plan::{Case, Line, cases};
use anyhow::{Context, Result, ensure};
use rustix::fs::syncfs;
use seawall_compare::noise::Ticks;
use seawall_harness::device::{Counts, Device};
use std::fs::{self, File};
use std::path::Path;

/// Measurements of one line in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) seen: Seen,
    /// Calls that made something durable, if the engine counts them.
    pub(crate) syncs: Option<u64>,
    /// Counters of the device, if it has any.
    pub(crate) device: Option<Counts>,
    /// Share of the processors that other processes used.
    pub(crate) others: Option<f64>,
}

/// The rounds of each line of a case. Absent lines have none.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) rounds: Vec<Vec<Round>>,
}

/// The engines of one row, created when they are first needed.
struct Engines<'a> {
    dir: &'a Path,
    scale: &'a Scale,
    row: u8,
    open: Vec<(Who, Box<dyn Engine>)>,
}

impl Engines<'_> {
    fn of(&mut self, who: Who) -> Result<&dyn Engine> {
        let who = who.engine();
        if let Some(at) = self.open.iter().position(|(other, _)| *other == who) {
            return Ok(&*self.open[at].1);
        }
        let dir = self.dir.join(format!("row-{}-{}", self.row, self.open.len()));
        let engine = engines::create(who, &dir, self.scale, self.row)?;
        self.open.push((who, engine));
        self.open.last().map(|(_, engine)| &**engine).context("no engine")
    }

    fn verify(self, payload: &[u8]) -> Result<()> {
        let Engines { dir, row, open, .. } = self;
        for (at, (who, engine)) in open.into_iter().enumerate() {
            engines::verify(who, engine, payload)?;
            let dir = dir.join(format!("row-{row}-{at}"));
            fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        Ok(())
    }
}

/// Measures one row. `say` receives progress messages.
pub(crate) fn row(
    row: u8,
    dir: &Path,
    scale: &Scale,
    device: Option<&Device>,
    payload: &[u8],
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Outcome>> {
    let mut engines = Engines { dir, scale, row, open: Vec::new() };
    let mut outcomes = Vec::new();
    let root = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
    for case in cases(row, scale) {
        let lines = case.lines.len();
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); lines];
        for line in case.lines.iter().filter(|line| line.absent.is_none()) {
            say(&format!("row {row}: preparing {}", line.who.name()));
            engines.of(line.who)?;
        }
        let stride = lines.div_ceil(case.rounds);
        for round in 0..case.rounds {
            for at in 0..lines {
                let at = (at + round * stride) % lines;
                let line = &case.lines[at];
                if line.absent.is_some() {
                    continue;
                }
                let name = line.who.name();
                say(&format!("row {row}: {}, round {} of {}: {name}", case.title, round + 1, case.rounds));
                let engine = engines.of(line.who)?;
                engine.rest().context("between measurements")?;
                // Sync first, so that no line pays for data that others or the preparation left in the page cache.
                syncfs(&root).context("sync the file system")?;
                let seen = measure(engine, line, device, payload)
                    .with_context(|| format!("row {row}, {}, {name}", case.title))?;
                rounds[at].push(seen);
            }
        }
        outcomes.push(Outcome { case, rounds });
    }
    say(&format!("row {row}: reading back"));
    engines.verify(&payload[..1024])?;
    Ok(outcomes)
}

fn measure(engine: &dyn Engine, line: &Line, device: Option<&Device>, payload: &[u8]) -> Result<Round> {
    let look = || device.map(Device::read).transpose();
    let (records, syncs, before) = (engine.records()?, engine.syncs()?, look()?);
    let ticks = Ticks::now();
    let seen = engine.measure(line.who, &line.load, &payload[..line.load.bytes])?;
    let (ticks_after, after) = (Ticks::now(), look()?);
    if let (Some(before), Some(after)) = (records, engine.records()?) {
        let held = after - before;
        ensure!(held == seen.appended, "{} appends were made, {held} records are there", seen.appended);
    }
    Ok(Round {
        seen,
        syncs: engine.syncs()?.zip(syncs).map(|(after, before)| after.saturating_sub(before)),
        others: ticks_after.zip(ticks).map(|(after, before)| after.others_since(&before)),
        device: after.zip(before).map(|(after, before)| after.since(&before)),
    })
}
