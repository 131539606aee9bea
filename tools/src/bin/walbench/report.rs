//! What people and programs get to see: a heading, a table, warnings, and a JSON file.
//!
//! The JSON is stable: fields may be added, none changes its meaning; what does not apply is absent.

use crate::args::{Load, RunArgs};
use crate::machine::Machine;
use crate::run::{Row, What};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
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
x floor   p50 over that of the better floor of the same size and round: 1 is the device, the rest is overhead
x bare    appends/s over those of the bare group commit under the same load and round: more is better
Times run from the call to the knowledge that the append is durable. Figures are medians over the rounds.";

/// Writes to stdout; a reader that has gone away is no failure.
pub(crate) fn say(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e).context("write to stdout"),
        _ => Ok(()),
    }
}

/// What is going to be measured, and where.
pub(crate) fn heading(args: &RunArgs, machine: &Machine) -> String {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let fua = machine.fua.map_or("unknown", |fua| if fua { "yes" } else { "no" });
    let memory = machine.memory_bytes.map_or("unknown".to_owned(), |b| format!("{:.1} GiB", b as f64 / GIB));
    let lines = [
        format!(
            "walbench {}: durable appends, {} s per row in {} rounds, seed {}",
            machine.version, args.seconds, args.rounds, machine.seed
        ),
        format!(
            "machine   {}, {} cores, memory {memory}, Linux {}",
            or_unknown(&machine.cpu),
            machine.cores,
            or_unknown(&machine.kernel)
        ),
        format!(
            "medium    {}: {} on {}, write cache {}, FUA {fua}, blocks of {} B",
            args.dir().display(),
            or_unknown(&machine.file_system),
            or_unknown(&machine.device),
            or_unknown(&machine.write_cache),
            machine.block_bytes
        ),
        format!("segments  {} MiB", f64::from(args.segment_bytes) / MIB),
    ];
    format!("{}\n\n{LEGEND}\n\n", lines.join("\n"))
}

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// All rows, aligned.
pub(crate) fn table(rows: &[Row]) -> String {
    const HEAD: [&str; 13] = [
        "what",
        "load",
        "bytes",
        "threads",
        "in flight",
        "strategy",
        "appends/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "x floor",
        "x bare",
    ];
    /// Columns of words, which are aligned on the left.
    const WORDS: [usize; 3] = [0, 1, 5];
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut table = String::new();
    for (i, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if WORDS.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let text: Vec<String> = cells.collect();
        // Sizes are set apart by an empty line.
        if i > 1 && rows[i - 1].spec.bytes != rows[i - 2].spec.bytes {
            table.push('\n');
        }
        table.push_str(text.join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn cells(row: &Row) -> [String; 13] {
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
    };
    let count = |number: Option<usize>| number.map_or("-".to_owned(), |n| n.to_string());
    [
        what.to_owned(),
        load.to_owned(),
        spec.bytes.to_string(),
        count(spec.threads),
        count(spec.in_flight),
        spec.strategy.to_owned(),
        format!("{:.0}", row.ops_s),
        format!("{:.1}", row.p50_us),
        format!("{:.1}", row.p99_us),
        format!("{:.1}", row.p999_us),
        format!("{:.0}", row.max_us),
        format!("{:.2}", row.floor_p50_ratio),
        row.bare_ops_ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
    ]
}

/// Why the figures may mean nothing, or are fewer than expected.
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
struct Json<'a> {
    machine: &'a Machine,
    rows: &'a [Row],
}

/// Refuses a file that cannot be written, before time is spent on measuring.
pub(crate) fn check_json(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "--json {} is a directory", path.display());
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(parent.is_dir(), "--json {}: there is no directory {}", path.display(), parent.display());
    Ok(())
}

/// Writes the results for programs.
pub(crate) fn write_json(path: &Path, machine: &Machine, rows: &[Row]) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&Json { machine, rows }).context("encode the results")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Spec;

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
            bare_ops_ratio: None,
            rounds: 1,
            ops: 1,
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
