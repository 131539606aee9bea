//! Measures the rows of `run` in rounds.
//!
//! Every round runs every row once, and each round starts at another row, so that changes on the machine affect all
//! rows alike. `summary` makes the rows of the report.

use crate::args::{Backend, Load, RunArgs, Strategy};
use crate::bare::{Bare, BareWriter};
use crate::counters::Delta;
use crate::floor::{Floor, framed_bytes};
use crate::load::{Drive, Sample, count, drive, payload};
use crate::log::Log;
use crate::medium::{Medium, supports_direct};
use crate::place::Place;
use crate::spec::{Spec, What, strategy_name};
use crate::summary::{Figures, Row, summarise};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use seawall_wal::Options;
use seawall_wal::disk::{Disk, Mode, PosixDisk};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Measures all rows that `args` select.
pub(crate) fn run(args: &RunArgs, place: &Place, seed: u64) -> Result<Vec<Row>> {
    let progress = ProgressBar::new(0);
    let style = "{spinner} {msg} [{bar:30}] {pos}/{len}";
    progress.set_style(ProgressStyle::with_template(style).context("progress bar")?);
    progress.set_message("writing the files");
    let targets = Targets::prepare(args, place.scratch())?;
    let specs = targets.plan(args);
    progress.set_length((specs.len() * args.rounds) as u64);

    let window = Duration::from_secs_f64(args.seconds / args.rounds as f64);
    let payload = payload(seed, args.bytes_max());
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::with_capacity(args.rounds); specs.len()];
    let stride = specs.len().div_ceil(args.rounds);
    for round in 0..args.rounds {
        for i in 0..specs.len() {
            let i = (i + round * stride) % specs.len();
            let spec = &specs[i];
            progress.set_message(format!("{:?} {:?} {} B", spec.what, spec.load, spec.bytes).to_lowercase());
            let figures = targets.measure(spec, &payload[..spec.bytes], window).with_context(|| {
                format!("{:?} row, load {:?}, {} bytes", spec.what, spec.load, spec.bytes)
            })?;
            rounds[i].push(figures);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    targets.close()?;
    Ok(summarise(specs, &rounds))
}

/// The targets. The bare group commits share their files with the floor of their strategy.
struct Targets {
    direct: Option<Floor>,
    sync: Floor,
    bare: Bare,
    bare_writer: BareWriter,
    /// One log for each backend asked for, and the options that it was made with.
    logs: Vec<Log>,
    options: Vec<Options>,
    /// Where to make a new log for each row of a log and round, if that was asked for.
    fresh: Option<PathBuf>,
    mode: Mode,
    block_bytes: usize,
    rotations_per_round: usize,
}

impl Targets {
    fn prepare(args: &RunArgs, dir: &Path) -> Result<Targets> {
        let has_direct = supports_direct(dir)?;
        let disk = PosixDisk::open(dir, None).context("open the working directory")?;
        let mode = match args.strategy {
            Strategy::Direct if !has_direct => {
                bail!("the file system of {} has no direct writes: use --strategy sync", dir.display())
            }
            Strategy::Direct => Mode::Direct,
            Strategy::Auto if has_direct => disk.mode(),
            Strategy::Auto | Strategy::Sync => Mode::Buffered,
        };
        let medium = |name: &str, mode| {
            let medium = Medium::create(dir, name, mode, args.segment_bytes)?;
            anyhow::Ok(Arc::new(Mutex::new(medium)))
        };
        let direct = if has_direct { Some(medium("direct", Mode::Direct)?) } else { None };
        let sync = medium("sync", Mode::Buffered)?;
        let ours = match (&direct, mode) {
            (Some(direct), Mode::Direct) => direct,
            _ => &sync,
        };
        let option = |backend: &Backend| {
            let options = args.strategy.options(args.segment_bytes);
            options.with_backend(backend.option()).with_yield_max_us(args.yield_max_us)
        };
        let options: Vec<Options> = args.backend.iter().map(option).collect();
        let log = |(i, options): (usize, &Options)| {
            let log = Log::create(&dir.join(format!("log-{i}")), options)?;
            log.settle()?;
            Ok(log)
        };
        let logs = options.iter().enumerate().map(log).collect::<Result<_>>()?;
        Ok(Targets {
            bare: Bare::new(ours.clone()),
            bare_writer: BareWriter::start(ours.clone())?,
            direct: direct.map(Floor::new),
            sync: Floor::new(sync),
            logs,
            options,
            fresh: args.fresh.then(|| dir.join("fresh")),
            mode,
            block_bytes: usize::try_from(disk.block_size()).context("block size")?,
            rotations_per_round: args.rotations_per_round(),
        })
    }

    /// All rows. For each size, the floor comes first.
    fn plan(&self, args: &RunArgs) -> Vec<Spec> {
        let mut specs = Vec::new();
        let mut push = |what, load, bytes, threads, in_flight, mode| {
            // A log reports its own strategy and backend.
            let ways = match what {
                What::Log => {
                    self.logs.iter().map(|log| (log.stats().strategy, log.stats().backend)).collect()
                }
                What::Floor | What::Bare => vec![(strategy_name(mode), "posix")],
            };
            let segment_bytes = args.segment_bytes;
            for (strategy, backend) in ways {
                specs.push(Spec { what, load, bytes, threads, in_flight, strategy, backend, segment_bytes });
            }
        };
        let timed: &[usize] = if args.has_timed_rows() { args.bytes(Load::Lone) } else { &[] };
        for &bytes in timed {
            if self.direct.is_some() {
                push(What::Floor, Load::Lone, bytes, None, None, Mode::Direct);
            }
            push(What::Floor, Load::Lone, bytes, None, None, Mode::Buffered);
            for what in [What::Bare, What::Log] {
                for &load in &args.rows {
                    let in_flight = Some(args.in_flight);
                    match load {
                        Load::Lone => push(what, load, bytes, None, None, self.mode),
                        Load::Inflight => push(what, load, bytes, None, in_flight, self.mode),
                        Load::Threads => {
                            for &threads in &args.threads {
                                push(what, load, bytes, Some(threads), None, self.mode);
                            }
                        }
                        Load::Groups => {
                            for &threads in &args.threads {
                                push(what, load, bytes, Some(threads), in_flight, self.mode);
                            }
                        }
                        Load::Rotations => {}
                    }
                }
            }
        }
        if args.rows.contains(&Load::Rotations) {
            for &bytes in args.bytes(Load::Rotations) {
                push(What::Floor, Load::Rotations, bytes, None, None, self.mode);
                push(What::Log, Load::Rotations, bytes, None, None, self.mode);
            }
        }
        specs
    }

    fn measure(&self, spec: &Spec, payload: &[u8], window: Duration) -> Result<Figures> {
        let same = |log: &&Log| spec.what != What::Log || log.stats().backend == spec.backend;
        let at = self.logs.iter().position(|log| same(&log)).context("no log of this backend")?;
        if let (What::Log, Some(dir)) = (spec.what, &self.fresh) {
            let log = Log::create(dir, &self.options[at])?;
            let before = log.stats();
            let sample = self.append(&log, spec, payload, window)?;
            let counted = Some(Delta::between(&before, &log.stats()));
            log.close()?;
            fs::remove_dir_all(dir).context("remove a log")?;
            return Ok(Figures::of(&sample, counted));
        }
        let log = &self.logs[at];
        let before = log.stats();
        let sample = self.append(log, spec, payload, window)?;
        let counted = (spec.what == What::Log).then(|| Delta::between(&before, &log.stats()));
        Ok(Figures::of(&sample, counted))
    }

    fn append(&self, log: &Log, spec: &Spec, payload: &[u8], window: Duration) -> Result<Sample> {
        let floor = match &self.direct {
            Some(direct) if spec.strategy == strategy_name(Mode::Direct) => direct,
            _ => &self.sync,
        };
        if spec.load == Load::Rotations {
            let appends = appends_over(self.rotations_per_round, spec, self.block_bytes);
            return match spec.what {
                What::Floor => count(floor, payload, appends),
                What::Bare => count(&self.bare, payload, appends),
                What::Log => count(log, payload, appends),
            };
        }
        let (threads, in_flight) = (spec.threads.unwrap_or(1), spec.in_flight.unwrap_or(1));
        let how = Drive { threads, in_flight, payload, window };
        match spec.what {
            What::Floor => drive(floor, how),
            What::Bare if in_flight == 1 => drive(&self.bare, how),
            What::Bare => drive(&self.bare_writer, how),
            What::Log => drive(log, how),
        }
    }

    fn close(self) -> Result<()> {
        self.logs.into_iter().try_for_each(Log::close)
    }
}

/// Number of lone appends that take at least `rotations` rotations, wherever in a segment they begin. The append after
/// a full segment causes the rotation.
fn appends_over(rotations: usize, spec: &Spec, block_bytes: usize) -> u64 {
    let append = framed_bytes(spec.bytes).next_multiple_of(block_bytes) as u64;
    rotations as u64 * (u64::from(spec.segment_bytes) / append).max(1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_append_after_a_full_segment_is_among_those_counted() {
        let spec = Spec {
            what: What::Log,
            load: Load::Rotations,
            bytes: 16384,
            threads: None,
            in_flight: None,
            strategy: "direct",
            backend: "posix",
            segment_bytes: 64 << 20,
        };
        assert_eq!(appends_over(12, &spec, 4096), 12 * 3276 + 1);
    }
}
