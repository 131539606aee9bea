//! Prints a heading, a table and warnings, and writes the JSON file.
//!
//! The JSON is stable: fields may be added, and none changes its meaning. A field that does not apply is absent.

use crate::args::{Load, RunArgs};
use crate::counters::Counters;
use crate::machine::Machine;
use crate::spec::What;
use crate::summary::Row;
use crate::text::{aligned, setting};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// No flush that reaches a medium is faster than this.
const PLAUSIBLE_FLUSH_US: f64 = 15.0;

const LEGEND: &str = "\
floor  raw durable writes of the same blocks into written files, one at a time: what the device costs
       (direct: O_DIRECT + RWF_DSYNC; sync: write + fdatasync)
bare   a group commit without a log: one buffer, one durable write per group; no frames, no checksums
log    the log
lone      one thread, one append at a time        inflight  one thread, several appends in flight
threads   several threads, one append each        groups    several threads, several appends in flight each
rotations one thread, one append at a time, through many segments; its floor writes as many times
x floor   p50 over that of the better floor of the same size and round: 1 is the device, the rest is overhead
x p99.9   the same of p99.9
x bare    appends/s over those of the bare group commit under the same load and round: more is better
recs/grp  records per group                        pad       share of the groups' bytes that are not records
amp       bytes written per byte of records        rot/waited  segments entered, and those of them waited for
Times run from the call to the knowledge that the append is durable. Figures are medians over the rounds.";

/// Heading of `run`: the setting of the measurement and its directory.
pub(crate) fn heading(args: &RunArgs, machine: &Machine) -> String {
    let title = format!(
        "walbench {}: durable appends, {} s per row in {} rounds, seed {}",
        machine.version, args.seconds, args.rounds, machine.seed
    );
    format!("{}{LEGEND}\n\n", setting(&title, machine, args.place.dir(), args.segment_bytes))
}

/// All rows as an aligned table.
pub(crate) fn table(rows: &[Row]) -> String {
    const HEAD: [&str; 19] = [
        "what",
        "load",
        "bytes",
        "threads",
        "in flight",
        "strategy",
        "backend",
        "appends/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "x floor",
        "x p99.9",
        "x bare",
        "recs/grp",
        "pad",
        "amp",
        "rot/waited",
    ];
    let lines: Vec<[String; 19]> = rows.iter().map(cells).collect();
    // An empty line separates payload sizes and the rows over rotations.
    let section = |i: usize| (rows[i].spec.bytes, rows[i].spec.load == Load::Rotations);
    aligned(HEAD, &lines, &[0, 1, 5, 6], |i| i > 0 && section(i) != section(i - 1))
}

fn cells(row: &Row) -> [String; 19] {
    let spec = &row.spec;
    let what = match spec.what {
        What::Floor => "floor",
        What::Bare => "bare",
        What::Log => "log",
    };
    let load = match spec.load {
        Load::Lone => "lone",
        Load::Inflight => "inflight",
        Load::Threads => "threads",
        Load::Groups => "groups",
        Load::Rotations => "rotations",
    };
    let counted = |text: fn(&Counters) -> String| row.counters.as_ref().map_or("-".to_owned(), text);
    let count = |number: Option<usize>| number.map_or("-".to_owned(), |n| n.to_string());
    [
        what.to_owned(),
        load.to_owned(),
        spec.bytes.to_string(),
        count(spec.threads),
        count(spec.in_flight),
        spec.strategy.to_owned(),
        spec.backend.to_owned(),
        format!("{:.0}", row.ops_s),
        format!("{:.1}", row.p50_us),
        format!("{:.1}", row.p99_us),
        format!("{:.1}", row.p999_us),
        format!("{:.0}", row.max_us),
        format!("{:.2}", row.floor_p50_ratio),
        format!("{:.2}", row.floor_p999_ratio),
        row.bare_ops_ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        counted(|c| format!("{:.1}", c.records_per_group)),
        counted(|c| format!("{:.2}", c.padding_ratio)),
        counted(|c| format!("{:.2}", c.write_amplification)),
        counted(|c| format!("{}/{}", c.rotations, c.rotations_waited)),
    ]
}

/// Reasons why the figures may mean nothing, or why rows are missing.
pub(crate) fn warnings(rows: &[Row], machine: &Machine) -> String {
    let mut text = String::new();
    let mut warn = |warning: &str| text.push_str(&format!("\nwarning: {warning}\n"));
    if machine.in_memory() {
        warn("this file system lives in memory: nothing here is durable");
    }
    let floors = rows.iter().filter(|row| row.spec.what == What::Floor);
    let fastest = floors.map(|row| row.p50_us).fold(f64::INFINITY, f64::min);
    if fastest < PLAUSIBLE_FLUSH_US {
        warn(&format!("a durable write takes {fastest:.1} us: this device may lie about flushes"));
    }
    text
}

#[derive(Serialize)]
struct Json<'a, T> {
    machine: &'a Machine,
    rows: &'a [T],
}

/// Writes the results as JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, machine: &Machine, rows: &[T]) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&Json { machine, rows }).context("encode the results")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    fn row(what: What, bytes: usize, p50_us: f64) -> Row {
        let (load, strategy, backend) = (Load::Lone, "direct", "posix");
        let spec = Spec {
            what,
            load,
            bytes,
            threads: None,
            in_flight: None,
            strategy,
            backend,
            segment_bytes: 1 << 20,
        };
        Row {
            spec,
            ops_s: 1e6 / p50_us,
            p50_us,
            p99_us: 100.0,
            p999_us: 1000.0,
            max_us: 12345.0,
            floor_p50_ratio: 1.0,
            floor_p999_ratio: 1.0,
            bare_ops_ratio: None,
            rounds: 1,
            ops: 1,
            counters: None,
        }
    }

    fn machine(file_system: &str) -> Machine {
        Machine {
            cpu: None,
            cores: 2,
            memory_bytes: None,
            kernel: None,
            file_system: Some(file_system.to_owned()),
            device: None,
            write_cache: None,
            fua: None,
            block_bytes: 4096,
            version: "0",
            commit: None,
            dirty: None,
            seed: 1,
            date: String::new(),
        }
    }

    #[test]
    fn columns_are_aligned_and_sizes_set_apart() {
        let text =
            table(&[row(What::Floor, 128, 50.0), row(What::Log, 128, 100.5), row(What::Log, 16384, 60.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3], "");
        let p50_end = lines[0].find("p50 us").unwrap() + "p50 us".len();
        for (line, p50) in [(lines[1], "50.0"), (lines[2], "100.5"), (lines[4], "60.0")] {
            assert!(line[..p50_end].ends_with(p50), "{line}");
        }
    }

    #[test]
    fn implausible_figures_are_pointed_out() {
        let rows = [row(What::Floor, 128, 50.0), row(What::Log, 128, 50.0)];
        assert_eq!(warnings(&rows, &machine("ext4")), "");
        assert!(warnings(&rows, &machine("tmpfs")).contains("lives in memory"));
        let rows = [row(What::Floor, 128, 14.0), row(What::Log, 128, 50.0)];
        assert!(warnings(&rows, &machine("ext4")).contains("14.0 us: this device may lie about flushes"));
    }
}
