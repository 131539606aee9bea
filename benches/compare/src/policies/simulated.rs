//! Runs a real log on a simulated clock: its state machine decides, a [`Device`] says when a write ends, a [`Load`] when
//! records arrive. Nothing depends on the machine, so the figures repeat exactly.

use crate::device::{Busy, Device, Kind};
use crate::load::{Load, Random};
use anyhow::{Context, Result};
use seawall_wal::disk::clock::Clock;
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::testing::stepper::{StepIo, Stepper};
use seawall_wal::testing::write_plans::{self, WritePlan};
use seawall_wal::{Durability, Env, Lsn, Options, RecordBuilder, Threads, Wal};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// Processor time of an append.
const APPEND_NS: u64 = 800;
/// Time from the end of a write until the appending thread has been woken by a callback, and by the log itself.
const CALLBACK_NS: u64 = 45_000;
const WAKE_NS: u64 = 5_000;

/// Records in flight.
pub(crate) const IN_FLIGHT: usize = 32;

/// One cell of the grid: what to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) device: Device,
    pub(crate) load: Load,
}

/// The figures of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Durable records per second.
    pub(crate) rate: f64,
    /// Time from the append of a record until it was durable.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// A write ends.
    Written(usize),
    /// A user appends.
    Append(usize),
    /// A group is held back until now.
    Due,
}

struct Run<'a> {
    cell: Cell,
    clock: &'a SimClock,
    wal: &'a Wal,
    stepper: Stepper<'a>,
    batch: RecordBuilder,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    ordinal: u64,
    busy: Busy,
    writing: Vec<Option<StepIo>>,
    /// Records that are not durable: position, user, and time of the append.
    open: VecDeque<(Lsn, usize, u64)>,
    /// Records that became durable since `measured_from_ns`.
    records: u64,
    random: Random,
    /// Until when the thread that appends is busy.
    processor_ns: u64,
    /// Users that append when all their records are durable.
    ready: usize,
    measured_from_ns: u64,
    waits_ns: Vec<u64>,
    segment: u32,
}

/// Runs `cell` with the plans in `plans`; all of them if that is `None`.
pub(crate) fn run(cell: Cell, plans: Option<Vec<WritePlan>>, seed: u64) -> Result<Figures> {
    let clock = Arc::new(SimClock::new());
    let env = Env {
        disk: SimDisk::new(seed, SimOptions::default()),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        random: Arc::new(SimRandom::new(seed)),
        threads: Threads::Stepped,
    };
    let wal = Wal::create_in(env, &Options::default().with_segment_bytes(8 << 20)).context("create a log")?;
    let own = plans.is_none();
    if let Some(plans) = plans {
        write_plans::restrict(&wal, plans);
    }
    let flush_ns = cell.device.flush_ns;
    let begin_ns = clock.now_ns();
    let bimodal = if cell.device.kind == Kind::Bimodal { 4_000_000_000 } else { 0 };
    // The log needs a few hundred windows until it tries other ways rarely.
    let learning_ns = (flush_ns * 8).max(8_000_000) * if own { 400 } else { 12 };
    let measured_from_ns = begin_ns + learning_ns;
    let end_ns = measured_from_ns + (flush_ns * 400).max(200_000_000).max(bimodal);
    let mut batch = RecordBuilder::new();
    batch.push_part(&[1; 64]);
    let mut run = Run {
        cell,
        clock: &clock,
        wal: &wal,
        stepper: Stepper::new(&wal),
        batch,
        events: BinaryHeap::new(),
        ordinal: 0,
        busy: Busy::new(cell.device),
        writing: Vec::new(),
        open: VecDeque::new(),
        records: 0,
        random: Random(seed),
        processor_ns: begin_ns,
        ready: 0,
        measured_from_ns,
        waits_ns: Vec::new(),
        segment: 0,
    };
    run.start()?;
    while let Some(Reverse((at_ns, _, event))) = run.events.pop() {
        let now_ns = clock.now_ns();
        clock.advance_ns(at_ns.saturating_sub(now_ns));
        if at_ns >= end_ns {
            break;
        }
        run.handle(event)?;
    }
    let seconds = (end_ns - measured_from_ns) as f64 / 1e9;
    let mut waits_ns = std::mem::take(&mut run.waits_ns);
    waits_ns.sort_unstable();
    let (p50_us, p99_us) = (quantile_us(&waits_ns, 0.5), quantile_us(&waits_ns, 0.99));
    Ok(Figures { rate: run.records as f64 / seconds, p50_us, p99_us })
}

/// The time, in microseconds, that this share of the sorted times does not exceed; NaN if there are none.
#[expect(clippy::cast_possible_truncation, reason = "an index, rounded down")]
pub(crate) fn quantile_us(sorted_ns: &[u64], share: f64) -> f64 {
    let at = ((sorted_ns.len() as f64 * share) as usize).min(sorted_ns.len().saturating_sub(1));
    sorted_ns.get(at).map_or(f64::NAN, |&ns| ns as f64 / 1000.0)
}

impl Run<'_> {
    fn start(&mut self) -> Result<()> {
        match self.cell.load {
            Load::Lockstep | Load::Oldest => {
                self.ready = IN_FLIGHT;
                self.append_ready()
            }
            Load::Open => {
                self.at(self.clock.now_ns(), Event::Append(0));
                Ok(())
            }
            Load::Replace | Load::Think | Load::LoneInCrowd => {
                (0..IN_FLIGHT).for_each(|user| self.at(self.clock.now_ns(), Event::Append(user)));
                Ok(())
            }
        }
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        self.ordinal += 1;
        self.events.push(Reverse((at_ns, self.ordinal, event)));
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        let now_ns = self.clock.now_ns();
        match event {
            Event::Append(user) => {
                if self.processor_ns > now_ns {
                    self.at(self.processor_ns, event);
                    return Ok(());
                }
                self.processor_ns = now_ns + APPEND_NS;
                self.append(user)?;
                if self.cell.load == Load::Open {
                    let mean_ns = self.cell.device.flush_ns * 3 / IN_FLIGHT as u64;
                    let next_ns = self.random.exponential_ns(mean_ns.max(APPEND_NS * 2));
                    self.at(now_ns + next_ns, Event::Append(0));
                }
            }
            Event::Written(index) => {
                let io = self.writing[index].take().context("a write that ended twice")?;
                self.stepper.complete(io);
                self.durable()?;
            }
            Event::Due => {}
        }
        self.issue()
    }

    fn append(&mut self, user: usize) -> Result<()> {
        let ticket = self.wal.append(&self.batch, Durability::Sync).context("append")?;
        self.open.push_back((ticket.lsn(), user, self.clock.now_ns()));
        if ticket.lsn().segment() != self.segment {
            self.segment = ticket.lsn().segment();
            self.wal.release(self.segment.saturating_sub(1)).context("release")?;
        }
        while self.stepper.prepare().context("prepare")? {}
        Ok(())
    }

    fn append_ready(&mut self) -> Result<()> {
        for user in 0..std::mem::take(&mut self.ready) {
            self.append(user)?;
            self.clock.advance_ns(APPEND_NS);
        }
        self.issue()
    }

    fn issue(&mut self) -> Result<()> {
        let now_ns = self.clock.now_ns();
        while let Some(io) = self.stepper.issue_in_time(now_ns) {
            let end_ns = self.busy.start(now_ns);
            let free = self.writing.iter().position(Option::is_none);
            let index = free.unwrap_or(self.writing.len());
            if free.is_none() {
                self.writing.push(None);
            }
            self.writing[index] = Some(io);
            self.at(end_ns, Event::Written(index));
        }
        if let Some(until_ns) = self.stepper.held_back_until_ns() {
            self.at(until_ns, Event::Due);
        }
        Ok(())
    }

    /// Takes what has become durable, and lets the users react.
    fn durable(&mut self) -> Result<()> {
        let (durable, now_ns) = (self.wal.durable(), self.clock.now_ns());
        let mut answered = 0;
        while self.open.front().is_some_and(|(lsn, ..)| *lsn < durable) {
            let Some((_, user, from_ns)) = self.open.pop_front() else { break };
            answered += 1;
            self.records += u64::from(now_ns >= self.measured_from_ns);
            let counts = self.cell.load != Load::LoneInCrowd || user == 0;
            if now_ns >= self.measured_from_ns && counts {
                self.waits_ns.push(now_ns - from_ns);
            }
            let flush_ns = self.cell.device.flush_ns;
            match self.cell.load {
                Load::Replace => self.at(now_ns + CALLBACK_NS, Event::Append(user)),
                Load::LoneInCrowd if user == 0 => self.at(now_ns + WAKE_NS, Event::Append(user)),
                Load::Think | Load::LoneInCrowd => {
                    let thinks_ns = self.random.exponential_ns(flush_ns * 2);
                    self.at(now_ns + WAKE_NS + thinks_ns, Event::Append(user));
                }
                Load::Lockstep | Load::Oldest => self.ready += 1,
                Load::Open => {}
            }
        }
        let appends = match self.cell.load {
            Load::Lockstep => self.ready == IN_FLIGHT,
            Load::Oldest => answered > 0,
            _ => false,
        };
        if appends {
            self.clock.advance_ns(WAKE_NS);
            self.append_ready()?;
        }
        Ok(())
    }
}
