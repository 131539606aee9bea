//! Draws the results as an SVG: a panel for each case, a bar for each engine, with Seawall's bars in another colour.

use crate::plan::Figure;
use crate::report::plotted;
use crate::summary::Row;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use seawall_harness::machine::Machine;
use std::path::Path;

const WIDTH: u32 = 1000;
const BAR: i32 = 18;
const PANEL_HEAD: i32 = 40;
const PANEL_GAP: i32 = 16;
const TOP: i32 = 56;
/// Left edge of the bars, and the longest bar of a panel, in pixels.
const LEFT: i32 = 330;
const LONGEST: i32 = 480;
const FONT: &str = "sans-serif";
const OURS: RGBColor = RGBColor(0, 92, 158);
const LIMITS: RGBColor = RGBColor(150, 150, 150);
const OTHERS: RGBColor = RGBColor(226, 148, 60);

/// Draws all cases.
pub(crate) fn draw(path: &Path, machine: &Machine, rows: &[Row]) -> Result<()> {
    let panels: Vec<&[Row]> = rows.chunk_by(|a, b| a.case == b.case && a.row == b.row).collect();
    let panel_height = |panel: &[Row]| PANEL_HEAD + PANEL_GAP + BAR * len(panel);
    let height = TOP + panels.iter().map(|panel| panel_height(panel)).sum::<i32>();
    let area = SVGBackend::new(path, (WIDTH, height.unsigned_abs())).into_drawing_area();
    let failed = |e: &dyn std::fmt::Display| anyhow!("draw {}: {e}", path.display());
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let text = |words: String, at: (i32, i32), size: i32| {
        area.draw(&Text::new(words, at, (FONT, size).into_font())).map_err(|e| failed(&e))
    };
    let unknown = || "unknown".to_owned();
    text("Seawall and other durable logs".to_owned(), (12, 8), 20)?;
    let setting = format!(
        "{}, {} cores, Linux {}, {}, {}; seed {}",
        machine.cpu.clone().unwrap_or_else(unknown),
        machine.cores,
        machine.kernel.clone().unwrap_or_else(unknown),
        machine.file_system.clone().unwrap_or_else(unknown),
        machine.date,
        machine.seed
    );
    text(setting, (12, 32), 12)?;
    let mut top = TOP;
    for panel in panels {
        let Some(first) = panel.first() else { continue };
        let unit = match first.compared {
            Figure::OpsS => "appends/s, longer is better",
            Figure::P50Us => "p50 in us, shorter is better",
        };
        text(format!("row {}: {} ({unit})", first.row, first.case), (12, top + 14), 15)?;
        let largest = panel.iter().filter_map(plotted).fold(f64::MIN_POSITIVE, f64::max);
        for (row, at) in panel.iter().zip(0..) {
            let y = top + PANEL_HEAD + at * BAR;
            let name = format!("{}, {} x {}", row.engine, row.threads, row.in_flight);
            text(name, (24, y), 12)?;
            let Some(value) = plotted(row) else {
                text(format!("- {}", row.absent.unwrap_or_default()), (LEFT, y), 12)?;
                continue;
            };
            let colour = match row.engine.as_str() {
                name if name.starts_with("seawall") => OURS,
                name if name.starts_with("raw") || name.starts_with("bare") => LIMITS,
                _ => OTHERS,
            };
            let end = LEFT + pixels(value / largest);
            let bar = Rectangle::new([(LEFT, y + 1), (end, y + BAR - 4)], colour.filled());
            area.draw(&bar).map_err(|e| failed(&e))?;
            let digits = usize::from(first.compared == Figure::P50Us);
            let ratio = row.ratios.first().map_or(String::new(), |r| format!("  (seawall x {:.2})", r.ratio));
            text(format!("{value:.digits$}{ratio}"), (end + 6, y), 12)?;
        }
        top += panel_height(panel);
    }
    area.present().map_err(|e| failed(&e))
}

fn len(panel: &[Row]) -> i32 {
    i32::try_from(panel.len()).unwrap_or(i32::MAX)
}

/// Length of a bar in pixels, at least one.
#[expect(clippy::cast_possible_truncation, reason = "a share of a few hundred pixels")]
fn pixels(share: f64) -> i32 {
    ((share * f64::from(LONGEST)) as i32).clamp(1, LONGEST)
}
