//! `walbench device-writes`: counts the requests that the device receives for one durable append.
//!
//! For each strategy, a lone writer appends to the log and to the floor's files, in blocks that are already written.
//! The device's counters are read right before and after. The log should cause as many requests as the floor. The
//! device is also observed for as long while the log is idle, because the figures include the writes of all other users
//! of the device. Fails if the device has no counters, for example on a file system without a block device.

use crate::args::{self, Strategy, Where, check_range, check_segment, parse_bytes, parse_segment_bytes};
use crate::counters::Delta;
use crate::device::{Counts, Device};
use crate::floor::{Floor, framed_bytes};
use crate::load::{Target, count, payload};
use crate::log::Log;
use crate::medium::{Medium, supports_direct};
use crate::place::{self, Place};
use crate::spec::{What, strategy_name};
use crate::{machine, report, seed, text};
use anyhow::{Context, Result, ensure};
use clap::Args;
use parking_lot::Mutex;
use rustix::fs::syncfs;
use seawall_wal::disk::Mode;
use seawall_wal::stats::Stats;
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Appends before the counted ones.
const WARM_UP: u64 = 64;
/// Pause after the warm-up, in which the log ends its burst with a mark.
const PAUSE: Duration = Duration::from_millis(150);
const IDLE_MAX: Duration = Duration::from_secs(5);
const APPENDS_MAX: usize = 10_000_000;

/// Options of `walbench device-writes`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeviceWritesArgs {
    #[command(flatten)]
    place: Where,
    /// Appends counted per row
    #[arg(long, value_name = "N", default_value_t = 2000)]
    appends: usize,
    /// Payload of one append
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "128")]
    bytes: usize,
    /// Size of a segment of the log, and of the files of the floor
    #[arg(long, value_name = "SIZE", value_parser = parse_segment_bytes, default_value = "64MiB")]
    segment_bytes: u32,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seed of the payload bytes [default: random]
    #[arg(long)]
    seed: Option<u64>,
}

impl DeviceWritesArgs {
    fn check(&self) -> Result<()> {
        check_range("--appends", self.appends, APPENDS_MAX)?;
        args::check_bytes(self.bytes)?;
        check_segment(self.segment_bytes, self.bytes)
    }

    /// Refuses appends that do not all fit into one segment; only blocks that are already written are measured.
    fn check_fits(&self, block_bytes: u32) -> Result<()> {
        let append = framed_bytes(self.bytes).next_multiple_of(block_bytes as usize) as u64;
        // One block for the header and one for each mark.
        let needed = (WARM_UP + self.appends as u64) * append + 4 * u64::from(block_bytes);
        ensure!(
            needed <= u64::from(self.segment_bytes),
            "--appends {} of {append} B do not fit into --segment-bytes {}, and a rotation would be counted with \
             them: use fewer, or a larger segment",
            self.appends,
            self.segment_bytes
        );
        Ok(())
    }
}

/// Runs the measurement and prints the report.
pub(crate) fn bench(args: &DeviceWritesArgs) -> Result<()> {
    args.check()?;
    args.json.as_deref().map_or(Ok(()), text::check_json)?;
    let seed = seed(args.seed)?;
    let files = place::MEDIUM_FILES + place::LOG_SEGMENTS;
    let place = Place::prepare(&args.place.spot(), place::space_needed(files, args.segment_bytes))?;
    let device = Device::below(place.scratch())?;
    let machine = machine::describe(place.scratch(), seed)?;
    args.check_fits(machine.block_bytes)?;
    let title = format!(
        "walbench {}: requests to the device {} per durable append, {} appends of {} B, seed {seed}",
        machine.version, device.name, args.appends, args.bytes
    );
    text::say(&text::setting(&title, &machine, args.place.dir(), args.segment_bytes))?;
    let payload = payload(seed, args.bytes);
    let rows = measure(args, place.scratch(), &device, &payload[..args.bytes])?;
    drop(place);
    text::say(&table(&rows))?;
    if device.is_stacked {
        text::say("\nwarning: this device passes on to others; the kernel counts no flushes for it\n")?;
    }
    args.json.as_deref().map_or(Ok(()), |path| report::write_json(path, &machine, &rows))
}

/// One row of the report. Figures are per group; for the floor, a group is one write.
#[derive(Debug, Serialize)]
struct Row {
    what: What,
    strategy: &'static str,
    backend: &'static str,
    device: String,
    bytes: usize,
    appends: u64,
    groups: u64,
    /// Write requests per group. The kernel counts a flush without data as one of them.
    writes_per_group: f64,
    /// Flushes per group. Absent if the kernel does not count flushes.
    #[serde(skip_serializing_if = "Option::is_none")]
    flushes_per_group: Option<f64>,
    bytes_per_group: f64,
    /// Writes by other users, per group: those of an equally long time in which nothing was appended.
    idle_writes_per_group: f64,
}

fn measure(args: &DeviceWritesArgs, dir: &Path, device: &Device, payload: &[u8]) -> Result<Vec<Row>> {
    let mut modes = vec![(Mode::Buffered, Strategy::Sync)];
    if supports_direct(dir)? {
        modes.insert(0, (Mode::Direct, Strategy::Direct));
    }
    let watch = Watch { args, device, payload, root: File::open(dir).context("open the working directory")? };
    let mut rows = Vec::new();
    for (mode, strategy) in modes {
        let name = strategy_name(mode);
        let medium = Medium::create(dir, &format!("floor-{name}"), mode, args.segment_bytes)?;
        let floor = Floor::new(Arc::new(Mutex::new(medium)));
        let (counted, idle, _) = watch.appends(&floor, Stats::default)?;
        rows.push(watch.row(What::Floor, (name, "posix"), args.appends as u64, counted, idle));
        drop(floor);

        let log = Log::create(&dir.join(format!("log-{name}")), &strategy.options(args.segment_bytes))?;
        log.settle()?;
        let (counted, idle, delta) = watch.appends(&log, || log.stats())?;
        ensure!(delta.rotations == 0, "the log went on to the next segment while it was counted");
        let stats = log.stats();
        rows.push(watch.row(What::Log, (stats.strategy, stats.backend), delta.groups, counted, idle));
        log.close()?;
    }
    Ok(rows)
}

/// Runs appends and reads the device's counters around them.
struct Watch<'a> {
    args: &'a DeviceWritesArgs,
    device: &'a Device,
    payload: &'a [u8],
    root: File,
}

impl Watch<'_> {
    /// Warms up, then observes the idle device, then the appends. `stats` reads the log's statistics.
    fn appends<T: Target>(&self, target: &T, stats: impl Fn() -> Stats) -> Result<(Counts, Counts, Delta)> {
        let appends = self.args.appends as u64;
        let warm_up = count(target, self.payload, WARM_UP)?;
        thread::sleep(PAUSE);
        // The file system may still have to write metadata of the files made before.
        syncfs(&self.root).context("sync the file system")?;
        let before = self.device.read()?;
        let share = warm_up.seconds / WARM_UP as f64;
        thread::sleep(Duration::from_secs_f64(share * appends as f64).min(IDLE_MAX));
        let idle = self.device.read()?.since(&before);

        let stats_before = stats();
        let before = self.device.read()?;
        count(target, self.payload, appends)?;
        let counted = self.device.read()?.since(&before);
        Ok((counted, idle, Delta::between(&stats_before, &stats())))
    }

    fn row(
        &self,
        what: What,
        (strategy, backend): (&'static str, &'static str),
        groups: u64,
        counted: Counts,
        idle: Counts,
    ) -> Row {
        let per_group = |count: u64| count as f64 / groups.max(1) as f64;
        Row {
            what,
            strategy,
            backend,
            device: self.device.name.clone(),
            bytes: self.args.bytes,
            appends: self.args.appends as u64,
            groups,
            writes_per_group: per_group(counted.writes),
            flushes_per_group: counted.flushes.map(per_group),
            bytes_per_group: per_group(counted.write_bytes),
            idle_writes_per_group: per_group(idle.writes),
        }
    }
}

fn table(rows: &[Row]) -> String {
    const HEAD: [&str; 8] = [
        "what",
        "strategy",
        "appends",
        "groups",
        "writes/grp",
        "flushes/grp",
        "bytes/grp",
        "idle writes/grp",
    ];
    let cells = |row: &Row| {
        let what = if row.what == What::Log { "log" } else { "floor" };
        [
            what.to_owned(),
            row.strategy.to_owned(),
            row.appends.to_string(),
            row.groups.to_string(),
            format!("{:.3}", row.writes_per_group),
            row.flushes_per_group.map_or("-".to_owned(), |flushes| format!("{flushes:.3}")),
            format!("{:.0}", row.bytes_per_group),
            format!("{:.3}", row.idle_writes_per_group),
        ]
    };
    let lines: Vec<[String; 8]> = rows.iter().map(cells).collect();
    text::aligned(HEAD, &lines, &[0, 1], |_| false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn parse(line: &str) -> DeviceWritesArgs {
        let command = DeviceWritesArgs::augment_args(clap::Command::new("device-writes"));
        DeviceWritesArgs::from_arg_matches(&command.get_matches_from(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_refused() {
        let args = parse("device-writes");
        args.check().unwrap();
        args.check_fits(4096).unwrap();
        for (options, named) in [
            ("--appends 0", "--appends"),
            ("--bytes 0", "--bytes"),
            ("--segment-bytes 1MiB --bytes 1MiB", "does not fit"),
        ] {
            let line = format!("device-writes {options}");
            let message = parse(&line).check().unwrap_err().to_string();
            assert!(message.contains(named), "{options}: {message}");
        }
        let args = parse("device-writes --appends 1000 --segment-bytes 1MiB");
        let message = args.check_fits(4096).unwrap_err().to_string();
        assert!(message.contains("do not fit"), "{message}");
    }
}
