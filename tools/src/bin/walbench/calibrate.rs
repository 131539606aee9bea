//! `walbench calibrate`: measures which strategy, backend and depth suit a device, and prints the figures and rules.
//!
//! It measures lone durable writes by both strategies, and direct writes with 1 to 32 in flight in the ring of one
//! thread, all interleaved. The printed rules are applied to the medians. With `--write` the strategy is stored as a
//! hint in a log's directory; a log opened with the strategy `auto` uses it.

use crate::args::{self, Where, check_range, parse_segment_bytes};
use crate::floor::Floor;
use crate::load::{count, median, payload};
use crate::medium::{Medium, supports_direct};
use crate::place::{self, Place};
use crate::spec::strategy_name;
use crate::{machine, report, seed, text};
use anyhow::{Context, Result, ensure};
use clap::Args;
use parking_lot::Mutex;
use seawall_wal::disk::{
    Access, AlignedBuf, Disk, Mode, PosixDisk,
    ring::{Ring, RingOp},
    write_all_at,
};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Payload sizes of the lone writes, and the number of writes of each size per round.
const SIZES: [usize; 3] = [1024, 16384, 65536];
const LONE: u64 = 150;
/// Numbers of writes in flight, the sizes of these writes, and the number of writes per round.
const DEPTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const BLOCKS: [usize; 2] = [4096, 65536];
const DEEP: usize = 600;
/// Sync is chosen only if its latency is at most this share of the direct one at every size. Figures vary less from run
/// to run.
const MARGIN: f64 = 0.9;
/// The smallest depth that reaches this share of the best rate is enough.
const ENOUGH: f64 = 0.9;

/// Options of `walbench calibrate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    place: Where,
    /// Rounds; the figures are medians over them
    #[arg(long, value_name = "R", default_value_t = 5)]
    rounds: usize,
    /// Size of the files that are written
    #[arg(long, value_name = "SIZE", value_parser = parse_segment_bytes, default_value = "64MiB")]
    segment_bytes: u32,
    /// Leave the strategy as a hint in this log's directory
    #[arg(long, value_name = "LOG")]
    write: Option<PathBuf>,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One row of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    strategy: &'static str,
    bytes: usize,
    in_flight: usize,
    /// `posix` or `io_uring`.
    backend: &'static str,
    p50_us: f64,
    writes_s: f64,
}

/// Measures, explains, and writes the hint if `--write` is given.
pub(crate) fn bench(args: &CalibrateArgs) -> Result<()> {
    check_range("--rounds", args.rounds, args::ROUNDS_MAX)?;
    args.json.as_deref().map_or(Ok(()), text::check_json)?;
    // Refuse a bad log directory before the measurement starts.
    let log = args.write.as_deref().map(open_log).transpose()?;
    let place = Place::prepare(&args.place.spot(), place::space_needed(6, args.segment_bytes))?;
    let machine = machine::describe(place.scratch(), seed(None)?)?;
    let title = format!("walbench {}: calibration, medians of {} rounds", machine.version, args.rounds);
    text::say(&text::setting(&title, &machine, args.place.dir(), args.segment_bytes))?;
    let rows = measure(args, place.scratch())?;
    drop(place);
    text::say(&table(&rows))?;
    let choice = choose(&rows);
    text::say(&format!("\n{}", choice.why.join("\n")))?;
    if let Some(log) = log {
        log.store_hint(choice.mode).context("write the hint")?;
        text::say(&format!("\nhint      {} left in {}", strategy_name(choice.mode), log.location()))?;
    }
    text::say("\n")?;
    args.json.as_deref().map_or(Ok(()), |path| report::write_json(path, &machine, &rows))
}

fn open_log(dir: &Path) -> Result<PosixDisk> {
    ensure!(dir.join("IDENTITY").is_file(), "--write {}: there is no log", dir.display());
    PosixDisk::open(dir, None).with_context(|| format!("open {}", dir.display()))
}

/// All rows, each a median over the rounds.
fn measure(args: &CalibrateArgs, dir: &Path) -> Result<Vec<Row>> {
    let mut floors = Vec::new();
    let direct = supports_direct(dir)?;
    for mode in if direct { vec![Mode::Direct, Mode::Buffered] } else { vec![Mode::Buffered] } {
        let medium = Medium::create(dir, strategy_name(mode), mode, args.segment_bytes)?;
        floors.push((mode, Floor::new(Arc::new(Mutex::new(medium)))));
    }
    let mut deep = if direct { Deep::prepare(dir, args.segment_bytes)? } else { None };
    let payload = payload(1, SIZES[SIZES.len() - 1]);
    let mut rounds: Vec<Vec<Row>> = Vec::new();
    for _ in 0..args.rounds {
        let mut rows = Vec::new();
        for bytes in SIZES {
            for (mode, floor) in &floors {
                let sample = count(floor, &payload[..bytes], LONE)?;
                let (p50_us, writes_s) = (sample.quantile_us(0.5), sample.ops_s());
                let strategy = strategy_name(*mode);
                rows.push(Row { strategy, bytes, in_flight: 1, backend: "posix", p50_us, writes_s });
            }
        }
        if let Some(deep) = &mut deep {
            for bytes in BLOCKS {
                for in_flight in DEPTHS {
                    let took = deep.write(bytes, in_flight)?.as_secs_f64();
                    let (writes_s, p50_us) =
                        (DEEP as f64 / took, took / DEEP as f64 * in_flight as f64 * 1e6);
                    rows.push(Row {
                        strategy: "direct",
                        bytes,
                        in_flight,
                        backend: "io_uring",
                        p50_us,
                        writes_s,
                    });
                }
            }
        }
        rounds.push(rows);
    }
    let of = |i: usize, figure: fn(&Row) -> f64| median(rounds.iter().map(|rows| figure(&rows[i])));
    let first = rounds.first().context("no rounds")?;
    let rows = first.iter().enumerate();
    Ok(rows
        .map(|(i, row)| Row { p50_us: of(i, |r| r.p50_us), writes_s: of(i, |r| r.writes_s), ..row.clone() })
        .collect())
}

/// A file of written blocks, and a ring to write it with.
struct Deep {
    ring: Box<dyn Ring>,
    file: Arc<dyn seawall_wal::disk::DiskFile>,
    file_bytes: u64,
    at: u64,
}

impl Deep {
    /// Returns `None` if the kernel provides no ring.
    fn prepare(dir: &Path, file_bytes: u32) -> Result<Option<Deep>> {
        let disk = PosixDisk::open(dir, Some(Mode::Direct)).context("open the working directory")?;
        let Ok(ring) = disk.ring(DEPTHS[DEPTHS.len() - 1]) else { return Ok(None) };
        let file = disk.open("deep", Access::Create).context("create a file")?;
        let zeros = AlignedBuf::zeroed(1 << 20);
        for at in (0..u64::from(file_bytes)).step_by(1 << 20) {
            write_all_at(file.as_ref(), &zeros, at, false).context("fill a file")?;
        }
        file.sync().context("sync a file")?;
        Ok(Some(Deep { ring, file, file_bytes: u64::from(file_bytes), at: 0 }))
    }

    /// Makes `DEEP` durable writes, `in_flight` at a time.
    fn write(&mut self, bytes: usize, in_flight: usize) -> Result<Duration> {
        let buf = Arc::new(AlignedBuf::zeroed(bytes));
        let (begin, mut started, mut done) = (Instant::now(), 0, 0);
        let (mut ended, mut free): (_, Vec<usize>) = (Vec::new(), (0..in_flight).collect());
        while done < DEEP {
            while started < DEEP
                && let Some(token) = free.pop()
            {
                if self.at + bytes as u64 > self.file_bytes {
                    self.at = 0;
                }
                let op = RingOp::Write { buf: Arc::clone(&buf), from: 0, offset: self.at, durable: true };
                self.ring.start(&self.file, op, token).context("start a write")?;
                self.at += bytes as u64;
                started += 1;
            }
            self.ring.wait(Duration::from_secs(1), &mut ended).context("wait for a write")?;
            for (token, result) in ended.drain(..) {
                free.push(token);
                ensure!(result.context("write")? == bytes, "a write ended short");
                done += 1;
            }
        }
        Ok(begin.elapsed())
    }
}

/// The recommended settings, and the reasons, one line each.
struct Choice {
    mode: Mode,
    why: Vec<String>,
}

fn choose(rows: &[Row]) -> Choice {
    let lone = |strategy: &str, bytes: usize| {
        let row = rows.iter().find(|r| r.backend == "posix" && r.strategy == strategy && r.bytes == bytes);
        row.map(|row| row.p50_us)
    };
    let mut why = Vec::new();
    let pairs: Vec<(f64, f64)> =
        SIZES.iter().filter_map(|&bytes| Some((lone("direct", bytes)?, lone("sync", bytes)?))).collect();
    let cheaper = !pairs.is_empty() && pairs.iter().all(|(direct, sync)| *sync < direct * MARGIN);
    let mode = if pairs.is_empty() || cheaper { Mode::Buffered } else { Mode::Direct };
    let figures: Vec<String> = pairs.iter().map(|(direct, sync)| format!("{:.2}", sync / direct)).collect();
    why.push(if pairs.is_empty() {
        "strategy  sync: this file system has no direct writes".to_owned()
    } else {
        let (name, figures) = (strategy_name(mode), figures.join(", "));
        format!("strategy  {name}: sync costs {figures} of direct at 1, 16 and 64 KiB; it would have to be below {MARGIN} at each")
    });
    let lone = lone(strategy_name(mode), SIZES[0]).unwrap_or(0.0);
    why.push(format!("groups    a lone write takes {lone:.0} us; the log tries how many to write at a time"));
    for bytes in BLOCKS {
        let deep: Vec<&Row> = rows.iter().filter(|r| r.backend == "io_uring" && r.bytes == bytes).collect();
        let best = deep.iter().map(|row| row.writes_s).fold(0.0, f64::max);
        let Some(enough) = deep.iter().find(|row| row.writes_s >= best * ENOUGH) else { continue };
        let gain = enough.writes_s / deep[0].writes_s;
        why.push(format!(
            "in flight  {}: {bytes} B writes come {gain:.1} times as fast as one at a time, {:.0} % of the best",
            enough.in_flight,
            enough.writes_s / best * 100.0
        ));
    }
    let ring = rows.iter().any(|row| row.backend == "io_uring");
    why.push(format!(
        "backend   {}",
        if ring { "io_uring, for more than one write at a time" } else { "posix: no io_uring here" }
    ));
    Choice { mode, why }
}

fn table(rows: &[Row]) -> String {
    const HEAD: [&str; 6] = ["strategy", "backend", "bytes", "in flight", "p50 us", "writes/s"];
    let cells = |row: &Row| {
        [
            row.strategy.to_owned(),
            row.backend.to_owned(),
            row.bytes.to_string(),
            row.in_flight.to_string(),
            format!("{:.1}", row.p50_us),
            format!("{:.0}", row.writes_s),
        ]
    };
    let lines: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let section = |i: usize| (rows[i].backend, rows[i].bytes);
    text::aligned(HEAD, &lines, &[0, 1], |i| i > 0 && section(i) != section(i - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lone(strategy: &'static str, figures: [f64; 3]) -> impl Iterator<Item = Row> {
        let row = move |(bytes, p50_us)| Row {
            strategy,
            bytes,
            in_flight: 1,
            backend: "posix",
            p50_us,
            writes_s: 1e6 / p50_us,
        };
        SIZES.into_iter().zip(figures).map(row)
    }

    #[test]
    fn sync_is_chosen_only_where_it_is_clearly_cheaper_at_every_size() {
        let mode = |sync| {
            choose(&lone("direct", [100.0, 120.0, 150.0]).chain(lone("sync", sync)).collect::<Vec<_>>()).mode
        };
        assert_eq!(mode([80.0, 100.0, 120.0]), Mode::Buffered);
        assert_eq!(mode([80.0, 100.0, 140.0]), Mode::Direct);
        assert_eq!(mode([110.0, 130.0, 160.0]), Mode::Direct);
        assert_eq!(choose(&lone("sync", [1.0, 1.0, 1.0]).collect::<Vec<_>>()).mode, Mode::Buffered);
    }

    #[test]
    fn the_smallest_depth_that_is_nearly_the_best_is_named() {
        let rates = [10.0, 18.0, 30.0, 46.0, 50.0, 49.0];
        let deep = DEPTHS.into_iter().zip(rates).map(|(in_flight, writes_s)| Row {
            strategy: "direct",
            bytes: 4096,
            in_flight,
            backend: "io_uring",
            p50_us: 1.0,
            writes_s,
        });
        let why = choose(&deep.collect::<Vec<_>>()).why.join("\n");
        assert!(why.contains("in flight  8: 4096 B writes come 4.6 times"), "{why}");
    }
}
