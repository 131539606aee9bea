//! Prints a heading and tables, each with its ratios first and then its figures, and writes the JSON file.

use crate::turns::{Outcome, OutcomeLine};
use anyhow::{Context, Result};
use seawall_harness::machine::Machine;
use seawall_harness::text::{aligned, setting};
use serde::Serialize;
use std::env;
use std::fs;
use std::path::Path;

/// Most columns of a table. Unused ones are empty and cut off.
const COLUMNS: usize = 14;
/// Above this share of the processors used by other processes, figures are doubtful.
const OTHERS_MAX: f64 = 0.25;

#[derive(Serialize)]
struct Json<'a> {
    machine: &'a Machine,
    command: String,
    raft_engine: &'static str,
    rounds: usize,
    quick: bool,
    outcomes: &'a [Outcome],
}

fn command() -> String {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let package = "cargo run --release --manifest-path benches/compare/Cargo.toml";
    format!("{package} --bin seawall-compare-engine -- {}", arguments.join(" "))
}

/// The setting of the measurement and its directory.
pub(crate) fn heading(machine: &Machine, dir: &Path, segment_bytes: u32, rounds: usize) -> String {
    let title = format!(
        "seawall {}, raft-engine 0.4.2, {}: {rounds} rounds, seed {}\n{}",
        machine.version,
        machine.date,
        machine.seed,
        command()
    );
    setting(&title, machine, dir, segment_bytes)
}

/// One table.
pub(crate) fn table(outcome: &Outcome) -> String {
    let mut text = format!("row {}: {}\n", outcome.row, outcome.title);
    for check in &outcome.checks {
        let verdict = if check.met { "met" } else { "MISSED" };
        text.push_str(&format!(
            "  {:<8} {}, bar {}: {verdict}\n",
            short(check.seen),
            check.what,
            check.bar.text()
        ));
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in outcome.lines.iter().flat_map(|line| &line.figures) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    // `others`, which every line has, is the last column.
    names.sort_by_key(|name| *name == "others");
    let mut head = [""; COLUMNS];
    head[0] = "engine";
    for (cell, name) in head[1..].iter_mut().zip(&names) {
        *cell = name;
    }
    let cells = |line: &OutcomeLine| {
        let mut cells: [String; COLUMNS] = std::array::from_fn(|_| String::new());
        cells[0].clone_from(&line.engine);
        for (cell, name) in cells[1..].iter_mut().zip(&names) {
            let value = line.figures.iter().find(|(of, _)| of == name).map(|(_, value)| *value);
            *cell = value.map_or("-".to_owned(), short);
        }
        cells
    };
    let lines: Vec<_> = outcome.lines.iter().map(cells).collect();
    text.push_str(&aligned(head, &lines, &[0], |_| false));
    let others = outcome.lines.iter().flat_map(|line| &line.figures);
    let loudest = others.filter(|(name, _)| *name == "others").map(|(_, share)| *share).fold(0.0, f64::max);
    if loudest > OTHERS_MAX {
        text.push_str(&format!("warning: others used up to {loudest:.2} of the processors\n"));
    }
    for note in &outcome.notes {
        text.push_str(&format!("- {note}\n"));
    }
    text.push('\n');
    text
}

/// Formats about four digits, and at most two decimals if the integer part is not zero.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || value.to_bits() == 0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Returns how many bars are met.
pub(crate) fn verdict(outcomes: &[Outcome], machine: &Machine, quick: bool) -> String {
    let checks: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.checks).collect();
    let met = checks.iter().filter(|check| check.met).count();
    let mut text = format!("{met} of {} bars met\n", checks.len());
    if quick {
        text.push_str("warning: --quick: the figures mean nothing\n");
    }
    if machine.in_memory() {
        text.push_str("warning: this file system lives in memory: nothing here is durable\n");
    }
    text
}

/// Writes the results as JSON.
pub(crate) fn write_json(
    path: &Path,
    machine: &Machine,
    rounds: usize,
    quick: bool,
    outcomes: &[Outcome],
) -> Result<()> {
    let json = Json { machine, command: command(), raft_engine: "0.4.2", rounds, quick, outcomes };
    let mut text = serde_json::to_string_pretty(&json).context("encode the results")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turns::Check;
    use seawall_compare::bar::Bar;

    #[test]
    fn ratios_stand_before_figures() {
        let line = |engine: &str, figures| OutcomeLine { engine: engine.to_owned(), figures };
        let outcome = Outcome {
            row: 4,
            title: "reading".to_owned(),
            checks: vec![Check::new("seawall over raft-engine", 2.5, Bar::AtLeast(3.0))],
            lines: vec![
                line("seawall", vec![("others", 0.5), ("GB/s", 2.125)]),
                line("raft-engine", vec![("others", 0.0)]),
            ],
            notes: vec!["more".to_owned()],
        };
        let text = table(&outcome);
        assert_eq!(
            text,
            "row 4: reading\n  2.50     seawall over raft-engine, bar >= 3: MISSED\n\
             engine       GB/s  others\nseawall      2.12    0.50\nraft-engine     -    0.00\n\
             warning: others used up to 0.50 of the processors\n- more\n\n"
        );
    }
}
