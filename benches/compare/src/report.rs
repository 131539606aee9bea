//! Prints a heading, the table and reasons to doubt figures, and writes the JSON file.

use crate::args::{Args, Scale};
use crate::engines::VERSIONS;
use crate::load::Variant;
use crate::plan::Figure;
use crate::summary::{Figures, Row};
use anyhow::{Context, Result};
use seawall_harness::machine::Machine;
use seawall_harness::text::{aligned, setting};
use serde::Serialize;
use std::env;
use std::fs;
use std::path::Path;

const FIXED: usize = 12;
/// Above this share of the processors used by other processes, figures are doubtful.
const OTHERS_MAX: f64 = 0.25;
const COLUMNS: usize = FIXED + Variant::COUNT;

const LEGEND: &str = "\
raw        durable writes of the same blocks into written files. One thread: the floor of a lone append. In row 5 as many threads
           as appends are in flight, each with a flush of its own: no floor, since a log may gather records for one flush
bare       a group commit without a log: one buffer, one durable write per group, one group at a time
gathered   the caller collects what is in flight in one batch of raft-engine and writes it with one call
index      raft-engine and raft-log keep an index of entries in memory; Seawall's log, okaywal and bare keep none.
           With an index of its own Seawall's engine is compared with raft-engine by seawall-compare-engine
row 6      Seawall's appends are in its own memory until the sync, raft-engine's in the page cache: after kill -9 before the
           sync the first are gone and the others are there
syncs      calls that made something durable, per append: writes with RWF_DSYNC, or syncs, as the engine counts
flushes    flushes of the device per append, as the kernel counts them for the whole disk
others     share of the processors that others used meanwhile, threads of the kernel included
bar        what Seawall over this line is to be, in appends/s; in row 4 in p50
Figures are medians over rounds in which all lines of a case take turns; ratios are medians over the rounds.";

#[derive(Serialize)]
struct Json<'a> {
    machine: &'a Machine,
    command: String,
    versions: Vec<String>,
    rounds: usize,
    seconds: f64,
    sustained_seconds: f64,
    quick: bool,
    /// Whether the device counts come from this disk's own statistics. Absent if the device has no counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_counts: Option<&'a str>,
    rows: &'a [Row],
}

/// The command line of this run.
pub(crate) fn command() -> String {
    let arguments: Vec<String> = env::args().skip(1).collect();
    format!("cargo run --release --manifest-path benches/compare/Cargo.toml -- {}", arguments.join(" "))
}

fn versions(machine: &Machine) -> Vec<String> {
    let seawall = format!("seawall-wal {}", machine.version);
    let others = VERSIONS.iter().map(|(name, version)| format!("{name} {version}"));
    std::iter::once(seawall).chain(others).collect()
}

/// The setting of the measurement and its directory.
pub(crate) fn heading(args: &Args, scale: &Scale, machine: &Machine) -> String {
    let title = format!(
        "{}, {}: {} s per round, {} rounds, seed {}\n{}",
        versions(machine).join(", "),
        machine.date,
        scale.window.as_secs_f64(),
        scale.rounds,
        machine.seed,
        command()
    );
    format!("{}{LEGEND}\n\n", setting(&title, machine, args.dir(), scale.segment_bytes))
}

/// All lines, a section for each case.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut head = [""; COLUMNS];
    head[..FIXED].copy_from_slice(&[
        "row",
        "engine",
        "threads",
        "in flight",
        "bytes",
        "appends/s",
        "MiB/s",
        "p50 us",
        "syncs",
        "flushes",
        "others",
        "bar",
    ]);
    let variants: Vec<String> = Variant::all().map(|variant| format!("seawall {}", variant.name())).collect();
    for (cell, name) in head[FIXED..].iter_mut().zip(&variants) {
        *cell = name;
    }
    let lines: Vec<[String; COLUMNS]> = rows.iter().map(cells).collect();
    let mut text = aligned(head, &lines, &[0, 1], |at| at > 0 && rows[at].case != rows[at - 1].case);
    for row in rows {
        if let Some(reason) = row.absent {
            text.push_str(&format!("\n- row {}, {}, {}: {reason}", row.row, row.case, row.engine));
        }
    }
    text.push('\n');
    text
}

fn cells(row: &Row) -> [String; COLUMNS] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let figure = |digits: usize, of: fn(&Figures) -> Option<f64>| {
        or_none(row.figures.as_ref().and_then(of).map(|value| format!("{value:.digits$}")))
    };
    let mut cells = std::array::from_fn(|_| "-".to_owned());
    cells[..FIXED].clone_from_slice(&[
        row.row.to_string(),
        row.engine.clone(),
        row.threads.to_string(),
        row.in_flight.to_string(),
        row.bytes.to_string(),
        figure(0, |f| Some(f.ops_s)),
        figure(1, |f| Some(f.mib_s)),
        figure(1, |f| f.p50_us),
        figure(3, |f| f.syncs_per_append),
        figure(3, |f| f.device_flushes_per_append),
        figure(2, |f| f.others),
        or_none(row.bar.map(|bar| bar.text())),
    ]);
    for (cell, ratio) in cells[FIXED..].iter_mut().zip(&row.ratios) {
        let verdict = match ratio.met {
            Some(true) => " met",
            Some(false) => " MISSED",
            None => "",
        };
        *cell = format!("{:.2}{verdict}", ratio.ratio);
    }
    cells
}

/// Returns how many bars are met, and reasons why figures may mean nothing.
pub(crate) fn verdict(rows: &[Row], machine: &Machine, quick: bool) -> String {
    let mut text = String::new();
    for variant in Variant::all() {
        let met: Vec<bool> = rows
            .iter()
            .flat_map(|row| row.ratios.iter().filter(|ratio| ratio.variant == variant.name()))
            .filter_map(|ratio| ratio.met)
            .collect();
        let count = met.iter().filter(|met| **met).count();
        text.push_str(&format!("seawall {}: {count} of {} bars met\n", variant.name(), met.len()));
    }
    let mut warn = |warning: &str| text.push_str(&format!("warning: {warning}\n"));
    if quick {
        warn("--quick: the figures mean nothing");
    }
    if machine.in_memory() {
        warn("this file system lives in memory: nothing here is durable");
    }
    let shares: Vec<f64> = rows.iter().filter_map(|row| row.figures.as_ref()?.others).collect();
    let loud = shares.iter().filter(|share| **share > OTHERS_MAX).count();
    if loud > 0 {
        warn(&format!(
            "others used more than {OTHERS_MAX} of the processors in {loud} of {} lines",
            shares.len()
        ));
    }
    for row in rows {
        let Some(figures) = &row.figures else { continue };
        // Only for durable appends: the page cache may hold back data that was not synced.
        let durable = figures.p50_us.is_some();
        if durable && figures.device_bytes_per_append.is_some_and(|bytes| bytes < row.bytes as f64) {
            let (row, case, engine) = (row.row, &row.case, &row.engine);
            warn(&format!("row {row}, {case}, {engine}: the device wrote fewer bytes than were appended"));
        }
    }
    text
}

/// Writes the results as JSON.
pub(crate) fn write_json(
    path: &Path,
    args: &Args,
    scale: &Scale,
    machine: &Machine,
    device: Option<&str>,
    rows: &[Row],
) -> Result<()> {
    let json = Json {
        machine,
        command: command(),
        versions: versions(machine),
        rounds: scale.rounds,
        seconds: scale.window.as_secs_f64(),
        sustained_seconds: scale.sustained.as_secs_f64(),
        quick: args.quick,
        device_counts: device,
        rows,
    };
    let mut text = serde_json::to_string_pretty(&json).context("encode the results")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// The value of a bar in the plot.
pub(crate) fn plotted(row: &Row) -> Option<f64> {
    let figures = row.figures.as_ref()?;
    match row.compared {
        Figure::OpsS => Some(figures.ops_s),
        Figure::P50Us => figures.p50_us,
    }
}
