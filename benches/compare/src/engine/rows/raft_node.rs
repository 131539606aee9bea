//! Row 9: a Raft node (crate `raft`) with one group, one thread and no peers: the cost of a proposal until it is
//! applied, and the gain from many Readys in flight.
//!
//! Every line has its own log and, except for gathered proposals, makes one Ready of each proposal. The lines differ in
//! what the thread does while Readys are in flight. The floor writes as many blocks as a lone proposal does.

use crate::args::Site;
use crate::load::{count, latencies};
use crate::store::{Seawall, Setup, Store};
use crate::turns::{Check, Figures, Line, Outcome, take_turns};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use seawall::raft_rs::raft::eraftpb::{Entry, Message};
use seawall::raft_rs::{GroupStorage, Host, HostError, Outcome as Driven, Pump, PumpOptions, raft};
use seawall::{ConfState, Engine};
use seawall_compare::bar::Bar;
use seawall_harness::floor::Floor;
use seawall_harness::load::{Drive, drive, payload};
use seawall_harness::medium::Medium;
use seawall_wal::disk::Mode;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const GROUP: u64 = 1;
const NODE: u64 = 1;
/// Longer than any write. No result depends on it.
const LONG: Duration = Duration::from_secs(60);

/// Proposals through a Raft node.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Bytes of a proposal
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Proposals in flight, in lines with many
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Time measured per line and round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// How the thread waits while Readys are in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loop {
    /// Continues to propose, up to the limit.
    Pipelined,
    /// Waits until all of them are durable, then continues.
    Waiting,
    /// Like `Waiting`, but one Ready has all proposals that may be in flight.
    Gathered,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { seconds: 0.05, ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        8 << 30
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let data = payload(site.seed, self.bytes);
        let node = |name: &str| Node::create(&site.dir.join(name));
        let (mut pipelined, mut waiting, mut gathered) =
            (node("pipelined")?, node("waiting")?, node("gathered")?);
        let (mode, strategy) = waiting.mode()?;
        let segment_bytes = seawall::Options::default().log.segment_bytes;
        let medium = Arc::new(Mutex::new(Medium::create(site.dir, "floor", mode, segment_bytes)?));

        let seconds = Duration::from_secs_f64(self.seconds);
        let raw = || {
            let how = Drive { threads: 1, in_flight: 1, payload: &data, window: seconds };
            let sample = drive(&Floor::new(Arc::clone(&medium)), how)?;
            Ok(figures(sample.ops_s(), &sample.latency_ns))
        };
        let lines = vec![
            Line::new("seawall, pipelined", || {
                pipelined.measure(Loop::Pipelined, self.in_flight, &data, seconds)
            }),
            Line::new("seawall, each waited for", || waiting.measure(Loop::Waiting, 1, &data, seconds)),
            Line::new("seawall, gathered and waited for", || {
                gathered.measure(Loop::Gathered, self.in_flight, &data, seconds)
            }),
            Line::new(format!("raw {strategy} write"), raw),
            // The same line again shows how far two equal lines differ.
            Line::new(format!("raw {strategy} write, again"), raw),
        ];
        let title = format!("one node, one thread, {} B, up to {} in flight", self.bytes, self.in_flight);
        let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
        let checks = vec![
            Check::new("pipelined over each waited for", rounds.ratio(RATE, 0, 1), Bar::AtLeast(5.0)),
            Check::new(
                "p50 of a lone proposal over the raw write",
                rounds.ratio(P50, 1, 3),
                Bar::AtMost(1.1),
            ),
        ];
        let mut outcome = rounds.outcome(9, title, checks);
        outcome.notes.push(format!(
            "pipelined over gathered and waited for: {:.2}, not judged: it makes a record of {} proposals",
            rounds.ratio(RATE, 0, 2),
            self.in_flight
        ));
        let again: Vec<_> = rounds.ratios(P50, 4, 3).into_iter().map(|ratio| format!("{ratio:.2}")).collect();
        outcome.notes.push(format!("p50 of the raw write over itself, round by round: {}", again.join(" ")));
        for node in [pipelined, waiting, gathered] {
            node.engine.close().context("close seawall")?;
        }
        Ok(vec![outcome])
    }
}

const RATE: &str = "proposals/s";
const P50: &str = "p50 us";

fn figures(rate: f64, latency_ns: &Histogram<u64>) -> Figures {
    let us = |quantile| latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    vec![(RATE, rate), (P50, us(0.5)), ("p99 us", us(0.99))]
}

/// A state machine that counts proposals. It sends no messages.
#[derive(Default)]
struct Counter {
    /// Times of the proposals that are not applied yet.
    proposed: VecDeque<Instant>,
    /// Latency of each proposal applied since the histogram was last taken.
    latency_ns: Option<Histogram<u64>>,
}

impl Host for Counter {
    fn send(&mut self, _: Vec<Message>) {}

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        // Entries that the core adds itself are empty.
        for _ in entries.iter().filter(|entry| !entry.data.is_empty()) {
            let begin = self.proposed.pop_front().ok_or("an entry that nobody proposed")?;
            if let Some(latency_ns) = &mut self.latency_ns {
                count(latency_ns, begin);
            }
        }
        Ok(())
    }
}

/// The leader of a group that has no other member.
struct Node {
    engine: Engine,
    pump: Pump<Counter>,
}

impl Node {
    fn create(dir: &Path) -> Result<Node> {
        let engine = Seawall::create(dir, &Setup { run_in: true, ..Setup::default() })?.into_engine();
        let members = ConfState { voters: vec![NODE], ..ConfState::default() };
        GroupStorage::new(&engine, GROUP).bootstrap(&members).context("bootstrap the group")?;
        let config = raft::Config { max_size_per_msg: 1 << 20, ..raft::Config::new(NODE) };
        let mut pump = Pump::new(&engine, GROUP, &config, Counter::default(), PumpOptions::default())?;
        pump.campaign()?;
        while pump.raft().raft_log.last_index() > pump.applied() {
            not_full(pump.poll()?)?;
            not_full(pump.wait(LONG)?)?;
        }
        Ok(Node { engine, pump })
    }

    /// The write mode and strategy name of the log, for the raw writes.
    fn mode(&self) -> Result<(Mode, &'static str)> {
        match self.engine.stats().context("figures of seawall")?.log.strategy {
            "direct" => Ok((Mode::Direct, "O_DIRECT+DSYNC")),
            "sync" => Ok((Mode::Buffered, "buffered, fdatasync")),
            other => Err(anyhow!("the log writes by {other}")),
        }
    }

    /// Proposes for the time of the window, with at most `in_flight` proposals that are not applied.
    fn measure(&mut self, how: Loop, in_flight: usize, data: &[u8], window: Duration) -> Result<Figures> {
        let pump = &mut self.pump;
        // Compact what a node would drop after a snapshot.
        pump.compact(pump.applied().saturating_sub(1)).or_else(|error| match error {
            seawall::raft_rs::Error::Engine(seawall::Error::Compacted { .. }) => Ok(()),
            error => Err(error),
        })?;
        self.engine.flush().context("flush seawall")?;
        pump.host_mut().latency_ns = Some(latencies()?);
        let (first, begin) = (pump.applied(), Instant::now());
        while begin.elapsed() < window {
            while pump.host().proposed.len() < in_flight {
                pump.host_mut().proposed.push_back(Instant::now());
                pump.propose(Vec::new(), data.to_vec())?;
                if how == Loop::Pipelined {
                    not_full(pump.poll()?)?;
                }
            }
            not_full(pump.poll()?)?;
            not_full(pump.wait(LONG)?)?;
            while how != Loop::Pipelined && pump.in_flight() > 0 {
                not_full(pump.wait(LONG)?)?;
            }
        }
        let (applied, seconds) = (pump.applied() - first, begin.elapsed().as_secs_f64());
        let latency_ns = pump.host_mut().latency_ns.take().context("latencies")?;
        while !pump.host().proposed.is_empty() {
            not_full(pump.wait(LONG)?)?;
        }
        Ok(figures(applied as f64 / seconds, &latency_ns))
    }
}

/// Fails if the disk is full: a node that waits for space measures nothing.
fn not_full(outcome: Driven) -> Result<()> {
    match outcome {
        Driven::Stalled(full) => Err(full.into()),
        _ => Ok(()),
    }
}
