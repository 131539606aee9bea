//! `walbench first-ack`: measures the time from create, or from open after a crash, to the first acknowledgement.
//!
//! Every round creates a log and appends once. It lets the log prepare its spares, fills it and abandons it as a kill
//! would. Then it opens the log, which scans the written segments, and appends once more. Each time has two parts: the
//! call itself, and the first durable append after it. The written data are still in the page cache if the log reads
//! through it; after a reboot, reading the device takes longer.

use crate::args::{
    self, Strategy, Where, check_range, check_segment, parse_bytes, parse_segment_bytes, parse_size,
};
use crate::load::median;
use crate::load::{Target, payload};
use crate::log::Log;
use crate::place::{self, Place};
use crate::{machine, report, seed, text};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Upper limit for the bytes written before the crash.
const WRITTEN_MAX: u64 = 4 << 30;

/// Options of `walbench first-ack`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FirstAckArgs {
    #[command(flatten)]
    place: Where,
    /// Rounds; the figures are medians over them
    #[arg(long, value_name = "R", default_value_t = 9)]
    rounds: usize,
    /// Bytes written before the crash that open has to scan
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "16MiB")]
    written: u64,
    /// Payload of the append
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "128")]
    bytes: usize,
    /// Size of a segment of the log
    #[arg(long, value_name = "SIZE", value_parser = parse_segment_bytes, default_value = "64MiB")]
    segment_bytes: u32,
    /// How the log is written
    #[arg(long, value_enum, default_value_t = Strategy::Auto)]
    strategy: Strategy,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seed of the payload bytes [default: random]
    #[arg(long)]
    seed: Option<u64>,
}

impl FirstAckArgs {
    fn check(&self) -> Result<()> {
        check_range("--rounds", self.rounds, args::ROUNDS_MAX)?;
        args::check_bytes(self.bytes)?;
        check_segment(self.segment_bytes, self.bytes)?;
        let written = self.written;
        ensure!(written <= WRITTEN_MAX, "--written is {written}, must be at most {WRITTEN_MAX}");
        Ok(())
    }

    /// Number of files that the log has at most: nothing is released, and each file has a header and a footer.
    fn files(&self) -> u64 {
        let filled = (self.written + self.written / 16).div_ceil(u64::from(self.segment_bytes));
        place::LOG_SEGMENTS + filled
    }
}

/// Runs the measurement and prints the report.
pub(crate) fn bench(args: &FirstAckArgs) -> Result<()> {
    args.check()?;
    args.json.as_deref().map_or(Ok(()), text::check_json)?;
    let seed = seed(args.seed)?;
    let place = Place::prepare(&args.place.spot(), place::space_needed(args.files(), args.segment_bytes))?;
    let machine = machine::describe(place.scratch(), seed)?;
    let title = format!(
        "walbench {}: time to the first acknowledgement, medians of {} rounds, {} B, seed {seed}",
        machine.version, args.rounds, args.bytes
    );
    text::say(&text::setting(&title, &machine, args.place.dir(), args.segment_bytes))?;
    let payload = payload(seed, args.bytes);
    let mut rounds = Vec::with_capacity(args.rounds);
    for _ in 0..args.rounds {
        rounds.push(round(args, &place.scratch().join("log"), &payload[..args.bytes])?);
    }
    drop(place);
    let rows = rows(args, &rounds);
    text::say(&table(&rows))?;
    if machine.in_memory() {
        text::say("\nwarning: this file system lives in memory: nothing here is durable\n")?;
    }
    args.json.as_deref().map_or(Ok(()), |path| report::write_json(path, &machine, &rows))
}

/// Times from a call to the first acknowledgement, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// The create or open call.
    ready_us: f64,
    /// The part of the call that scans segments.
    scan_us: f64,
    /// The append after the call.
    append_us: f64,
}

impl Times {
    /// Measures `start`, which returns a log and the duration of its scan, and then the first append to that log.
    fn take(payload: &[u8], start: impl FnOnce() -> Result<(Log, Duration)>) -> Result<(Log, Times)> {
        let begin = Instant::now();
        let (log, scan) = start()?;
        let ready = Instant::now();
        let ticket = log.append(&mut log.producer(0), payload)?;
        log.wait(ticket)?;
        let append_us = ready.elapsed().as_secs_f64() * 1e6;
        let us = |duration: Duration| duration.as_secs_f64() * 1e6;
        Ok((log, Times { ready_us: us(ready - begin), scan_us: us(scan), append_us }))
    }
}

/// Measurements of one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    create: Times,
    open: Times,
    strategy: &'static str,
    backend: &'static str,
}

fn round(args: &FirstAckArgs, dir: &Path, payload: &[u8]) -> Result<Round> {
    let options = args.strategy.options(args.segment_bytes);
    let (log, create) = Times::take(payload, || Ok((Log::create(dir, &options)?, Duration::ZERO)))?;
    log.settle()?;
    log.fill(args.written, payload[0])?;
    log.abandon();
    let (log, open) = Times::take(payload, || Log::open(dir, &options))?;
    let stats = log.stats();
    log.close()?;
    fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    Ok(Round { create, open, strategy: stats.strategy, backend: stats.backend })
}

/// One row of the report: medians over the rounds, except the largest time.
#[derive(Debug, Serialize)]
struct Row {
    /// `create` or `open`.
    what: &'static str,
    bytes: usize,
    /// Bytes written before the crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u64>,
    strategy: &'static str,
    backend: &'static str,
    segment_bytes: u32,
    /// The call itself; open includes the scan.
    ready_us: f64,
    /// The scan, which takes longer the more segments there are.
    scan_us: f64,
    /// The first durable append after it.
    append_us: f64,
    /// From the start of the call to the acknowledgement.
    ack_us: f64,
    /// `ack_us` without the scan.
    ack_less_scan_us: f64,
    ack_max_us: f64,
    rounds: usize,
}

fn rows(args: &FirstAckArgs, rounds: &[Round]) -> Vec<Row> {
    let row = |what, written_bytes, times: fn(&Round) -> Times| {
        let of = |figure: fn(Times) -> f64| median(rounds.iter().map(|round| figure(times(round))));
        let ack = |t: Times| t.ready_us + t.append_us;
        Row {
            what,
            bytes: args.bytes,
            written_bytes,
            strategy: rounds.first().map_or("", |round| round.strategy),
            backend: rounds.first().map_or("", |round| round.backend),
            segment_bytes: args.segment_bytes,
            ready_us: of(|t| t.ready_us),
            scan_us: of(|t| t.scan_us),
            append_us: of(|t| t.append_us),
            ack_us: of(ack),
            ack_less_scan_us: of(|t| t.ready_us - t.scan_us + t.append_us),
            ack_max_us: rounds.iter().map(|round| ack(times(round))).fold(0.0, f64::max),
            rounds: rounds.len(),
        }
    };
    vec![row("create", None, |round| round.create), row("open", Some(args.written), |round| round.open)]
}

fn table(rows: &[Row]) -> String {
    const HEAD: [&str; 9] = [
        "what",
        "strategy",
        "written MiB",
        "call us",
        "scan us",
        "first append us",
        "to first ack us",
        "less scan us",
        "max us",
    ];
    let cells = |row: &Row| {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / args::MIB as f64);
        [
            row.what.to_owned(),
            row.strategy.to_owned(),
            row.written_bytes.map_or("-".to_owned(), mib),
            format!("{:.0}", row.ready_us),
            format!("{:.0}", row.scan_us),
            format!("{:.0}", row.append_us),
            format!("{:.0}", row.ack_us),
            format!("{:.0}", row.ack_less_scan_us),
            format!("{:.0}", row.ack_max_us),
        ]
    };
    let lines: Vec<[String; 9]> = rows.iter().map(cells).collect();
    text::aligned(HEAD, &lines, &[0, 1], |_| false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn parse(line: &str) -> FirstAckArgs {
        let command = FirstAckArgs::augment_args(clap::Command::new("first-ack"));
        FirstAckArgs::from_arg_matches(&command.get_matches_from(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_refused() {
        let args = parse("first-ack");
        args.check().unwrap();
        assert_eq!((args.rounds, args.written, args.files()), (9, 16 << 20, 6));
        for (options, named) in [
            ("--rounds 0", "--rounds"),
            ("--bytes 0", "--bytes"),
            ("--written 5GiB", "--written"),
            ("--segment-bytes 4096", "--segment-bytes"),
        ] {
            let message = parse(&format!("first-ack {options}")).check().unwrap_err().to_string();
            assert!(message.contains(named), "{options}: {message}");
        }
    }

    #[test]
    fn a_row_has_the_medians_of_its_parts() {
        let times = |ready_us, append_us| Times { ready_us, scan_us: ready_us / 2.0, append_us };
        let round = |create, open| Round { create, open, strategy: "sync", backend: "posix" };
        let rounds = [
            round(times(10.0, 1.0), times(5.0, 1.0)),
            round(times(30.0, 3.0), times(7.0, 9.0)),
            round(times(20.0, 2.0), times(6.0, 2.0)),
        ];
        let rows = rows(&parse("first-ack"), &rounds);
        let figures = |row: &Row| {
            [row.ready_us, row.append_us, row.ack_us, row.ack_max_us, row.ack_less_scan_us]
                .map(|us| format!("{us:.1}"))
        };
        assert_eq!(figures(&rows[0]), ["20.0", "2.0", "22.0", "33.0", "12.0"]);
        assert_eq!(figures(&rows[1]), ["6.0", "2.0", "8.0", "16.0", "5.0"]);
    }
}
