//! What is measured and in which order: rounds over rows, and medians of the rounds.
//!
//! Every round runs every row once, each round starting at another row, so that whatever changes on the
//! machine meanwhile hits all rows alike. Ratios are taken within a round, then their median.

use crate::args::{Load, RunArgs, Strategy};
use crate::bare::{Bare, BareWriter};
use crate::floor::Floor;
use crate::load::{Drive, Sample, drive};
use crate::log::Log;
use crate::medium::{Medium, supports_direct};
use crate::place::Place;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use seawall_wal::disk::{Disk, Mode, PosixDisk};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What is appended to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// Raw durable writes.
    Floor,
    /// A group commit without a log around it.
    Bare,
    /// The log.
    Log,
}

/// What one row measures.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Spec {
    pub(crate) what: What,
    pub(crate) load: Load,
    /// Payload of one append.
    pub(crate) bytes: usize,
    /// Absent where it is 1 by the load's meaning, as is `in_flight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<usize>,
    pub(crate) strategy: &'static str,
    pub(crate) backend: &'static str,
    pub(crate) segment_bytes: u32,
}

/// One row of the report: medians over the rounds, except `max_us`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) spec: Spec,
    pub(crate) ops_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Over all rounds.
    pub(crate) max_us: f64,
    /// p50 over that of the better floor of the same size.
    pub(crate) floor_p50_ratio: f64,
    /// Appends per second over those of the bare group commit under the same load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bare_ops_ratio: Option<f64>,
    pub(crate) rounds: usize,
    /// Appends measured.
    pub(crate) ops: u64,
}

/// Measures everything that `args` ask for.
pub(crate) fn run(args: &RunArgs, place: &Place, seed: u64) -> Result<Vec<Row>> {
    let progress = ProgressBar::new(0);
    let style = "{spinner} {msg} [{bar:30}] {pos}/{len}";
    progress.set_style(ProgressStyle::with_template(style).context("progress bar")?);
    progress.set_message("writing the files");
    let targets = Targets::prepare(args, place.scratch())?;
    let specs = targets.plan(args);
    progress.set_length((specs.len() * args.rounds) as u64);

    let window = Duration::from_secs_f64(args.seconds / args.rounds as f64);
    let payload = payload(seed, args.bytes.iter().copied().max().unwrap_or(0));
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::with_capacity(args.rounds); specs.len()];
    let stride = specs.len().div_ceil(args.rounds);
    for round in 0..args.rounds {
        for i in 0..specs.len() {
            let i = (i + round * stride) % specs.len();
            let spec = &specs[i];
            progress.set_message(format!("{:?} {:?} {} B", spec.what, spec.load, spec.bytes).to_lowercase());
            let sample = targets.measure(spec, &payload[..spec.bytes], window).with_context(|| {
                format!("{:?} row, load {:?}, {} bytes", spec.what, spec.load, spec.bytes)
            })?;
            rounds[i].push(Figures::of(&sample));
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    targets.close()?;
    Ok(summarise(specs, &rounds))
}

/// What can be appended to. The bare group commits share their files with the floor of their strategy.
struct Targets {
    direct: Option<Floor>,
    sync: Floor,
    bare: Bare,
    bare_writer: BareWriter,
    log: Log,
    mode: Mode,
}

impl Targets {
    fn prepare(args: &RunArgs, dir: &Path) -> Result<Targets> {
        let has_direct = supports_direct(dir)?;
        let natural = PosixDisk::open(dir, None).context("open the working directory")?.mode();
        let mode = match args.strategy {
            Strategy::Direct if !has_direct => {
                bail!("the file system of {} has no direct writes: use --strategy sync", dir.display())
            }
            Strategy::Direct => Mode::Direct,
            Strategy::Auto if has_direct => natural,
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
        Ok(Targets {
            bare: Bare::new(ours.clone()),
            bare_writer: BareWriter::start(ours.clone())?,
            direct: direct.map(Floor::new),
            sync: Floor::new(sync),
            log: Log::create(dir, args)?,
            mode,
        })
    }

    /// All rows, each size's floor first.
    fn plan(&self, args: &RunArgs) -> Vec<Spec> {
        let mut specs = Vec::new();
        let mut push = |what, load, bytes, threads, in_flight, mode| {
            let (strategy, backend, segment_bytes) = (strategy_name(mode), "posix", args.segment_bytes);
            specs.push(Spec { what, load, bytes, threads, in_flight, strategy, backend, segment_bytes });
        };
        let whats = [What::Bare, What::Log];
        for &bytes in &args.bytes {
            if self.direct.is_some() {
                push(What::Floor, Load::Lone, bytes, None, None, Mode::Direct);
            }
            push(What::Floor, Load::Lone, bytes, None, None, Mode::Buffered);
            for what in whats {
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
                    }
                }
            }
        }
        specs
    }

    fn measure(&self, spec: &Spec, payload: &[u8], window: Duration) -> Result<Sample> {
        let (threads, in_flight) = (spec.threads.unwrap_or(1), spec.in_flight.unwrap_or(1));
        let how = Drive { threads, in_flight, payload, window };
        match (spec.what, &self.direct, &self.log) {
            (What::Floor, Some(direct), _) if spec.strategy == strategy_name(Mode::Direct) => {
                drive(direct, how)
            }
            (What::Floor, ..) => drive(&self.sync, how),
            (What::Bare, ..) if in_flight == 1 => drive(&self.bare, how),
            (What::Bare, ..) => drive(&self.bare_writer, how),
            (What::Log, _, log) => drive(log, how),
        }
    }

    fn close(self) -> Result<()> {
        self.log.close()
    }
}

fn strategy_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Direct => "direct",
        Mode::Buffered => "sync",
    }
}

/// Bytes that no device can compress, from a 64-bit generator (splitmix64).
fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes
}

/// What one round saw of one row.
#[derive(Clone, Copy, Debug)]
struct Figures {
    ops: u64,
    ops_s: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Figures {
    fn of(sample: &Sample) -> Figures {
        Figures {
            ops: sample.latency_ns.len(),
            ops_s: sample.ops_s(),
            p50_us: sample.quantile_us(0.5),
            p99_us: sample.quantile_us(0.99),
            p999_us: sample.quantile_us(0.999),
            max_us: sample.max_us(),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => f64::midpoint(values[(n - 1) / 2], values[n / 2]),
    }
}

/// Medians over the rounds; `rounds[i]` has the figures of `specs[i]`, one per round.
fn summarise(specs: Vec<Spec>, rounds: &[Vec<Figures>]) -> Vec<Row> {
    let mut rows = Vec::with_capacity(specs.len());
    for (spec, figures) in specs.iter().zip(rounds) {
        let matching = |wanted: &dyn Fn(&Spec) -> bool| -> Vec<&Vec<Figures>> {
            specs.iter().zip(rounds).filter(|(other, _)| wanted(other)).map(|(_, figures)| figures).collect()
        };
        let floors = matching(&|other| other.what == What::Floor && other.bytes == spec.bytes);
        let to_floor = figures.iter().enumerate().map(|(round, own)| {
            own.p50_us / floors.iter().map(|floor| floor[round].p50_us).fold(f64::INFINITY, f64::min)
        });
        let bares = matching(&|other| {
            spec.what == What::Log
                && *other == Spec { what: What::Bare, backend: other.backend, ..spec.clone() }
        });
        let bare_ops_ratio = bares
            .first()
            .map(|bare| median(figures.iter().zip(bare.iter()).map(|(own, bare)| own.ops_s / bare.ops_s)));
        let of = |figure: fn(&Figures) -> f64| median(figures.iter().map(figure));
        rows.push(Row {
            spec: spec.clone(),
            ops_s: of(|f| f.ops_s),
            p50_us: of(|f| f.p50_us),
            p99_us: of(|f| f.p99_us),
            p999_us: of(|f| f.p999_us),
            max_us: figures.iter().map(|f| f.max_us).fold(0.0, f64::max),
            floor_p50_ratio: median(to_floor),
            bare_ops_ratio,
            rounds: figures.len(),
            ops: figures.iter().map(|f| f.ops).sum(),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(what: What, load: Load, strategy: &'static str) -> Spec {
        let (bytes, segment_bytes) = (128, 1 << 20);
        Spec { what, load, bytes, threads: None, in_flight: None, strategy, backend: "posix", segment_bytes }
    }

    fn figures(ops_s: f64, p50_us: f64) -> Figures {
        Figures { ops: 10, ops_s, p50_us, p99_us: 0.0, p999_us: 0.0, max_us: p50_us }
    }

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()).to_bits(), 2f64.to_bits());
        assert_eq!(median([4.0, 1.0].into_iter()).to_bits(), 2.5f64.to_bits());
        assert!(median(std::iter::empty()).is_nan());
    }

    #[test]
    fn ratios_are_to_the_better_floor_and_to_the_same_load() {
        let specs = vec![
            spec(What::Floor, Load::Lone, "direct"),
            spec(What::Floor, Load::Lone, "sync"),
            spec(What::Bare, Load::Lone, "direct"),
            spec(What::Bare, Load::Inflight, "direct"),
            spec(What::Log, Load::Lone, "direct"),
        ];
        let rounds = [
            vec![figures(0.0, 40.0), figures(0.0, 80.0)],
            vec![figures(0.0, 50.0), figures(0.0, 60.0)],
            vec![figures(1000.0, 44.0), figures(1000.0, 66.0)],
            vec![figures(9000.0, 1.0), figures(9000.0, 1.0)],
            vec![figures(500.0, 80.0), figures(1000.0, 60.0)],
        ];
        let rows = summarise(specs, &rounds);
        assert!((rows[2].floor_p50_ratio - 1.1).abs() < 1e-9);
        assert!((rows[4].floor_p50_ratio - 1.5).abs() < 1e-9);
        assert_eq!(rows[2].bare_ops_ratio, None);
        assert!((rows[4].bare_ops_ratio.unwrap() - 0.75).abs() < 1e-9);
        assert_eq!((rows[4].rounds, rows[4].ops), (2, 20));
    }

    #[test]
    fn payloads_follow_from_the_seed() {
        assert_eq!(payload(1, 100)[..100], payload(1, 200)[..100]);
        assert_ne!(payload(1, 16), payload(2, 16));
        assert!(payload(1, 3).len() >= 3);
    }
}
