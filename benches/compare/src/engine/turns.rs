//! Runs lines in turn, round after round, and computes medians, ratios and checks.
//!
//! Each round starts at another line, so that changes on the machine affect all of them. Ratios are taken within a
//! round, and their median is reported, so that a slow moment affects both sides.

use anyhow::{Context, Result};
use rustix::fs::syncfs;
use seawall_compare::bar::Bar;
use seawall_compare::noise::Ticks;
use seawall_harness::load::median;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;

/// Figures of one round of one line, by name.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// One contender of a row.
pub(crate) struct Line<'a> {
    pub(crate) name: String,
    /// Runs one round.
    pub(crate) run: Box<dyn FnMut() -> Result<Figures> + 'a>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut() -> Result<Figures> + 'a) -> Line<'a> {
        Line { name: name.into(), run: Box::new(run) }
    }
}

/// Figures of all rounds of all lines.
pub(crate) struct Rounds {
    names: Vec<String>,
    /// Indexed by line, then by round.
    seen: Vec<Vec<Figures>>,
}

/// Runs all lines `rounds` times. Their files are below `dir`.
pub(crate) fn take_turns(title: &str, dir: &Path, rounds: usize, mut lines: Vec<Line<'_>>) -> Result<Rounds> {
    let root = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
    let mut seen: Vec<Vec<Figures>> = vec![Vec::new(); lines.len()];
    for round in 0..rounds {
        for turn in 0..lines.len() {
            let at = (turn + round) % lines.len();
            let Line { name, run } = &mut lines[at];
            progress(&format!("{title}: round {} of {rounds}, {name}", round + 1));
            // Sync first, so that no line pays for data that others left in the page cache.
            syncfs(&root).context("sync the file system")?;
            let before = Ticks::now();
            let mut figures = run().with_context(|| format!("{title}, {name}"))?;
            if let Some((after, before)) = Ticks::now().zip(before) {
                figures.push(("others", after.others_since(&before)));
            }
            seen[at].push(figures);
        }
    }
    progress("");
    Ok(Rounds { names: lines.into_iter().map(|line| line.name).collect(), seen })
}

/// Shows the progress on a terminal.
pub(crate) fn progress(doing: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{doing}");
        let _ = stderr.flush();
    }
}

fn figure(figures: &Figures, name: &str) -> f64 {
    figures.iter().find(|(of, _)| *of == name).map_or(f64::NAN, |(_, value)| *value)
}

impl Rounds {
    /// Median of the ratios of figure `name` between the lines `ours` and `theirs`.
    pub(crate) fn ratio(&self, name: &str, ours: usize, theirs: usize) -> f64 {
        median(self.ratios(name, ours, theirs).into_iter())
    }

    /// The ratios of figure `name` between the lines `ours` and `theirs`, round by round.
    pub(crate) fn ratios(&self, name: &str, ours: usize, theirs: usize) -> Vec<f64> {
        let pairs = self.seen[ours].iter().zip(&self.seen[theirs]);
        pairs.map(|(ours, theirs)| figure(ours, name) / figure(theirs, name)).collect()
    }

    /// The median of figure `name` of a line.
    pub(crate) fn median(&self, name: &str, line: usize) -> f64 {
        median(self.seen[line].iter().map(|figures| figure(figures, name)))
    }

    /// Makes one table, with the checks made on it.
    pub(crate) fn outcome(&self, row: u8, title: impl Into<String>, checks: Vec<Check>) -> Outcome {
        let of = |(at, name): (usize, &String)| {
            let names = self.seen[at].first().into_iter().flatten().map(|(name, _)| *name);
            let figures = names.map(|name| (name, self.median(name, at))).collect();
            OutcomeLine { engine: name.clone(), figures }
        };
        let lines = self.names.iter().enumerate().map(of).collect();
        Outcome { row, title: title.into(), checks, lines, notes: Vec::new() }
    }
}

/// A bar and the measured ratio.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) seen: f64,
    pub(crate) bar: Bar,
    pub(crate) met: bool,
}

impl Check {
    pub(crate) fn new(what: impl Into<String>, seen: f64, bar: Bar) -> Check {
        Check { what: what.into(), seen, bar, met: bar.is_met(seen) }
    }
}

/// The medians of a line.
#[derive(Clone, Debug)]
pub(crate) struct OutcomeLine {
    pub(crate) engine: String,
    /// Figures in the order of the table's columns.
    pub(crate) figures: Figures,
}

impl Serialize for OutcomeLine {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            engine: &'a str,
            figures: BTreeMap<&'static str, f64>,
        }
        let figures = self.figures.iter().copied().collect();
        Shown { engine: &self.engine, figures }.serialize(serializer)
    }
}

/// One table of one row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) row: u8,
    pub(crate) title: String,
    pub(crate) checks: Vec<Check>,
    pub(crate) lines: Vec<OutcomeLine>,
    /// Remarks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_rounds_and_lines_take_turns() {
        let (order, dir) = (std::cell::RefCell::new(String::new()), std::env::temp_dir());
        let line = |name: &'static str, values: [f64; 3]| {
            let (order, mut values) = (&order, values.into_iter());
            Line::new(name, move || {
                order.borrow_mut().push_str(name);
                Ok(vec![("rate", values.next().unwrap())])
            })
        };
        let lines = vec![line("a", [10.0, 20.0, 90.0]), line("b", [5.0, 5.0, 10.0])];
        let rounds = take_turns("test", &dir, 3, lines).unwrap();
        assert_eq!(order.borrow().as_str(), "abbaab");
        assert!((rounds.ratio("rate", 0, 1) - 4.0).abs() < 1e-9);
        assert!((rounds.median("rate", 0) - 20.0).abs() < 1e-9);
        let checks = vec![Check::new("a over b", rounds.ratio("rate", 0, 1), Bar::AtMost(3.9))];
        let outcome = rounds.outcome(1, "test", checks);
        assert!(!outcome.checks[0].met);
        assert_eq!((outcome.lines[1].engine.as_str(), outcome.lines[1].figures[0].0), ("b", "rate"));
    }
}
