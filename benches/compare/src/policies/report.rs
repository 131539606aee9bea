//! Prints the grid as a Markdown table, and draws it: a row for each device, a column for each load.

use crate::Outcome;
use crate::device::devices;
use crate::load::LOADS;
use crate::simulated::Figures;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use seawall_wal::testing::write_plans::WritePlan;
use std::fmt::Write;
use std::path::Path;

/// Bars: the least rate and the largest p99, over those of the best fixed plan.
const RATE_MIN: f64 = 0.9;
const P99_MAX: f64 = 1.1;

const LEFT: i32 = 170;
const TOP: i32 = 64;
const WIDE: i32 = 130;
const HIGH: i32 = 22;

fn name(plan: WritePlan) -> String {
    match plan {
        WritePlan::Gathered(u32::MAX) => "Gathered".to_owned(),
        plan => format!("{plan:?}"),
    }
}

fn figures(f: &Figures) -> String {
    format!("{:.0} | {:.0} | {:.0}", f.rate, f.p50_us, f.p99_us)
}

/// The grid, and how many cells meet the bars.
pub(crate) fn table(outcomes: &[Outcome], all: bool) -> String {
    let mut text = String::from(
        "| device | load | records/s | p50 us | p99 us | best fixed plan | records/s | p50 us | p99 us | rate over it | p99 over it | it again |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let (mut fast, mut short) = (0, 0);
    let mut noisy = (0, 0);
    for outcome in outcomes {
        let Some(((plan, best), (rate, p99))) = outcome.best().zip(outcome.ratios()) else { continue };
        fast += usize::from(rate >= RATE_MIN);
        short += usize::from(p99 <= P99_MAX);
        let flag = |met: bool| if met { "" } else { "**" };
        let (r, p) = (flag(rate >= RATE_MIN), flag(p99 <= P99_MAX));
        let (cell, own) = (outcome.cell, figures(&outcome.own));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {own} | {} | {} | {r}{rate:.2}{r} | {p}{p99:.2}{p} | {} |",
            cell.device,
            cell.load,
            name(*plan),
            figures(best),
            outcome.spread().map_or("-".to_owned(), |(rate, p99)| format!("{rate:.2}, {p99:.2}"))
        );
        if let Some((rate, p99)) = outcome.spread() {
            noisy.0 += usize::from(rate < RATE_MIN);
            noisy.1 += usize::from(p99 > P99_MAX);
        }
        for (plan, fixed) in outcome.fixed.iter().filter(|_| all) {
            let _ = writeln!(text, "| | | | | | {} | {} | | | |", name(*plan), figures(fixed));
        }
    }
    let cells = outcomes.len();
    let _ = writeln!(
        text,
        "\nRate at least {RATE_MIN} of the best fixed plan's: {fast} of {cells} cells. p99 at most {P99_MAX} of it: {short}."
    );
    if outcomes.iter().any(|outcome| outcome.again.is_some()) {
        let _ =
            writeln!(text, "That plan's second run misses these bars in {} and {} cells.", noisy.0, noisy.1);
    }
    text
}

/// Draws the grid: each cell is coloured by its worse ratio, and shows both.
pub(crate) fn draw(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| anyhow!("draw {}: {e}", path.display());
    let (columns, rows) = (i32::try_from(LOADS.len())?, i32::try_from(devices().len())?);
    let size = (LEFT + columns * WIDE + 12, TOP + rows * HIGH + 12);
    let area = SVGBackend::new(path, (size.0.unsigned_abs(), size.1.unsigned_abs())).into_drawing_area();
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let text = |words: &str, at: (i32, i32), size: i32| {
        area.draw(&Text::new(words.to_owned(), at, ("sans-serif", size))).map_err(|e| failed(&e))
    };
    text("The log's own choice over the best fixed way to write: rate, p99", (12, 10), 18)?;
    for (load, x) in LOADS.iter().zip(0..) {
        text(&load.to_string(), (LEFT + x * WIDE + 6, TOP - 20), 13)?;
    }
    for (device, y) in devices().iter().zip(0..) {
        text(&device.to_string(), (12, TOP + y * HIGH + 5), 13)?;
        for (load, x) in LOADS.iter().zip(0..) {
            let here = outcomes.iter().find(|o| o.cell.device == *device && o.cell.load == *load);
            let Some((rate, p99)) = here.and_then(Outcome::ratios) else { continue };
            let worse = (1.0 / rate).max(p99).clamp(1.0, 2.0) - 1.0;
            #[expect(clippy::cast_possible_truncation, reason = "between two colours")]
            let fade = |from: f64, to: f64| (from + (to - from) * worse) as u8;
            let colour = RGBColor(fade(222.0, 226.0), fade(238.0, 128.0), fade(222.0, 60.0));
            let (left, top) = (LEFT + x * WIDE, TOP + y * HIGH);
            let cell = Rectangle::new([(left, top), (left + WIDE - 2, top + HIGH - 2)], colour.filled());
            area.draw(&cell).map_err(|e| failed(&e))?;
            text(&format!("{rate:.2}   {p99:.2}"), (left + 28, top + 4), 13)?;
        }
    }
    area.present().map_err(|e| failed(&e))
}
