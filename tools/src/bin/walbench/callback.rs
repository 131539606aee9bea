//! `walbench callback`: measures the cost of learning about completions one by one.
//!
//! One thread keeps a fixed number of appends in flight and replaces each completed one at once, on the log and on the
//! engine. It learns about completions in three ways, in interleaved rounds: it waits for its tickets, oldest first
//! (`tickets`); each record has a callback that sends to the thread (`closures`); or it waits for the durable end to
//! pass a position (`wait_past`).

use crate::args::{self, Strategy, Where, check_range, check_segment, parse_bytes, parse_segment_bytes};
use crate::load::{median, payload};
use crate::log::{Log, Producer};
use crate::place::{self, Place};
use crate::{load::Target, machine, report, seed, text};
use anyhow::{Context, Result};
use clap::Args;
use hdrhistogram::Histogram;
use seawall::{Engine, EntryRef, WriteBatch};
use seawall_wal::{Durability, Lsn, Ticket};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The group that the engine's rows write to, and the number of newest entries that it keeps.
const GROUP: u64 = 1;
const KEPT: u64 = 1000;

/// Options of `walbench callback`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CallbackArgs {
    #[command(flatten)]
    place: Where,
    /// Time measured per row, over all rounds
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    seconds: f64,
    /// Rounds; each runs every row once, and the figures are medians over the rounds
    #[arg(long, value_name = "R", default_value_t = 5)]
    rounds: usize,
    /// Appends in flight
    #[arg(long, value_name = "K", default_value_t = 32)]
    in_flight: usize,
    /// Payload of an append
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "128")]
    bytes: usize,
    /// Size of a segment of the log
    #[arg(long, value_name = "SIZE", value_parser = parse_segment_bytes, default_value = "64MiB")]
    segment_bytes: u32,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seed of the payload bytes [default: random]
    #[arg(long)]
    seed: Option<u64>,
}

/// How the thread learns about completions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Tickets,
    Closures,
    WaitPast,
}

const WAYS: [Way; 3] = [Way::Tickets, Way::Closures, Way::WaitPast];

/// One row of the report.
#[derive(Clone, Debug, Serialize)]
struct Row {
    /// `log` or `engine`.
    what: &'static str,
    way: Way,
    in_flight: usize,
    bytes: usize,
    ops_s: f64,
    p50_us: f64,
    p99_us: f64,
    /// `ops_s` divided by that of the tickets.
    over_tickets: f64,
}

/// Runs the measurement and prints the report.
pub(crate) fn bench(args: &CallbackArgs) -> Result<()> {
    check_range("--rounds", args.rounds, args::ROUNDS_MAX)?;
    check_range("--in-flight", args.in_flight, 1 << 16)?;
    args::check_bytes(args.bytes)?;
    check_segment(args.segment_bytes, args.bytes)?;
    args::check_seconds(args.seconds)?;
    args.json.as_deref().map_or(Ok(()), text::check_json)?;
    let seed = seed(args.seed)?;
    let space = place::space_needed(2 * place::LOG_SEGMENTS, args.segment_bytes);
    let place = Place::prepare(&args.place.spot(), space)?;
    let machine = machine::describe(place.scratch(), seed)?;
    let title = format!(
        "walbench {}: completions replaced at once, medians of {} rounds, {} in flight, {} B, seed {seed}",
        machine.version, args.rounds, args.in_flight, args.bytes
    );
    text::say(&text::setting(&title, &machine, args.place.dir(), args.segment_bytes))?;
    let rows = measure(args, &place, &payload(seed, args.bytes))?;
    drop(place);
    text::say(&table(&rows))?;
    args.json.as_deref().map_or(Ok(()), |path| report::write_json(path, &machine, &rows))
}

/// The target of one thread's appends.
trait Sink {
    fn append(&mut self, payload: &[u8]) -> Result<Ticket>;
    fn wait_past(&self, lsn: Lsn) -> Result<Lsn>;
}

struct LogSink<'a>(&'a Log, Producer);

impl Sink for LogSink<'_> {
    fn append(&mut self, payload: &[u8]) -> Result<Ticket> {
        self.0.append_as(&mut self.1, payload, Durability::Sync)
    }

    fn wait_past(&self, lsn: Lsn) -> Result<Lsn> {
        self.0.wait_past(lsn)
    }
}

struct EngineSink {
    engine: Engine,
    batch: WriteBatch,
    next: u64,
    segment: u32,
}

impl Sink for EngineSink {
    fn append(&mut self, payload: &[u8]) -> Result<Ticket> {
        self.batch.append(GROUP, &[EntryRef { index: self.next, term: 1, payload }]);
        let ticket = self.engine.write(&mut self.batch).context("write to the engine")?;
        self.next += 1;
        // Compact as a replica does after a snapshot.
        if ticket.lsn().segment() > self.segment && self.next > KEPT + 2 {
            self.segment = ticket.lsn().segment();
            self.batch.compact(GROUP, self.next - KEPT);
        }
        Ok(ticket)
    }

    fn wait_past(&self, lsn: Lsn) -> Result<Lsn> {
        self.engine.wait_past(lsn, Duration::MAX).context("durable write to the engine")
    }
}

fn measure(args: &CallbackArgs, place: &Place, payload: &[u8]) -> Result<Vec<Row>> {
    let options = Strategy::Auto.options(args.segment_bytes);
    let log = Log::create(&place.scratch().join("log"), &options)?;
    let engine_options = seawall::Options::default().with_log(options);
    let engine =
        Engine::create(place.scratch().join("engine"), &engine_options).context("create the engine")?;
    log.settle()?;
    let mut of_log = LogSink(&log, log.producer(0));
    let mut of_engine = EngineSink { engine: engine.clone(), batch: WriteBatch::new(), next: 1, segment: 1 };
    let window = Duration::from_secs_f64(args.seconds / args.rounds as f64);
    let mut seen: Vec<Vec<[f64; 3]>> = vec![Vec::new(); 2 * WAYS.len()];
    for round in 0..args.rounds {
        for i in 0..seen.len() {
            let i = (i + round) % seen.len();
            let sink: &mut dyn Sink = if i < WAYS.len() { &mut of_log } else { &mut of_engine };
            seen[i].push(run(sink, WAYS[i % WAYS.len()], args.in_flight, payload, window)?);
        }
    }
    log.close()?;
    engine.close().context("close the engine")?;
    let of = |i: usize, figure: usize| median(seen[i].iter().map(|round| round[figure]));
    let row = |i: usize| Row {
        what: if i < WAYS.len() { "log" } else { "engine" },
        way: WAYS[i % WAYS.len()],
        in_flight: args.in_flight,
        bytes: args.bytes,
        ops_s: of(i, 0),
        p50_us: of(i, 1),
        p99_us: of(i, 2),
        over_tickets: of(i, 0) / of(i / WAYS.len() * WAYS.len(), 0),
    };
    Ok((0..seen.len()).map(row).collect())
}

/// Appends in flight, oldest first: the time of the append, its position, and its ticket if there is one.
type InFlight = VecDeque<(Instant, Lsn, Option<Ticket>)>;

/// Runs one row once. Returns appends per second, and p50 and p99 in microseconds.
fn run(sink: &mut dyn Sink, way: Way, count: usize, payload: &[u8], window: Duration) -> Result<[f64; 3]> {
    let mut latency_us = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).context("a histogram")?;
    let (send, done) = mpsc::channel();
    let mut in_flight = InFlight::new();
    let begin = Instant::now();
    let mut go_on = true;
    while go_on || !in_flight.is_empty() {
        while go_on && in_flight.len() < count {
            let now = Instant::now();
            let ticket = sink.append(payload)?;
            let lsn = ticket.lsn();
            let kept = if way == Way::Closures {
                let send = send.clone();
                ticket.on_durable(move |result| _ = send.send(result));
                None
            } else {
                Some(ticket)
            };
            in_flight.push_back((now, lsn, kept));
        }
        let (_, oldest, ticket) = in_flight.front().context("nothing is in flight")?;
        let end = match (way, ticket) {
            (Way::Closures, _) => {
                let first = done.recv().context("a callback was dropped")?.context("durable append")?;
                // Take all completions that have arrived since; they share one reading of the clock.
                done.try_iter().try_fold(first, |_, result| result).context("durable append")?
            }
            (Way::Tickets, Some(ticket)) => ticket.wait().context("durable append")?,
            // `wait_past` returns the durable end; every record below it is complete.
            _ => sink.wait_past(*oldest)?,
        };
        let now = Instant::now();
        let complete = |lsn: Lsn| if way == Way::WaitPast { lsn < end } else { lsn <= end };
        while in_flight.front().is_some_and(|(_, lsn, _)| complete(*lsn)) {
            let Some((from, _, _)) = in_flight.pop_front() else { break };
            latency_us.saturating_record(u64::try_from((now - from).as_micros()).unwrap_or(u64::MAX));
        }
        go_on = now - begin < window;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let quantile = |q| latency_us.value_at_quantile(q) as f64;
    Ok([latency_us.len() as f64 / seconds, quantile(0.5), quantile(0.99)])
}

fn table(rows: &[Row]) -> String {
    let line = |row: &Row| {
        [
            row.what.to_owned(),
            match row.way {
                Way::Tickets => "tickets",
                Way::Closures => "closures",
                Way::WaitPast => "wait_past",
            }
            .to_owned(),
            format!("{:.0}", row.ops_s),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.2}", row.over_tickets),
        ]
    };
    let lines: Vec<_> = rows.iter().map(line).collect();
    let head = ["what", "completions", "appends/s", "p50 us", "p99 us", "x tickets"];
    text::aligned(head, &lines, &[0, 1], |i| i == WAYS.len())
}
