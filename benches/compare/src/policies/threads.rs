//! Runs a log with its own threads on a [`TimedDisk`], under the loads of the grid, driven by real threads.
//!
//! The times of the device are exact to a few microseconds; everything else is the machine's, so these figures vary.

use crate::device::Kind;
use crate::load::{Load, Random};
use crate::simulated::{Cell, Figures, IN_FLIGHT, quantile_us};
use crate::timed_disk::TimedDisk;
use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use seawall_wal::disk::clock::{SystemClock, SystemRandom};
use seawall_wal::testing::write_plans::{self, WritePlan};
use seawall_wal::{Durability, Env, Options, RecordBuilder, Threads, Ticket, Wal};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// A thread spins for shorter pauses than this, because a sleep takes longer.
const SPIN: Duration = Duration::from_micros(30);
/// Least mean distance of arrivals in an open loop: callbacks have to keep up.
const ARRIVALS_NS: u64 = 10_000;

/// The log under a load, and what was seen of it.
struct Run {
    wal: Wal,
    cell: Cell,
    seed: u64,
    measured_from: Instant,
    end: Instant,
    segment: AtomicU32,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    records: u64,
    waits_ns: Vec<u64>,
}

/// Runs `cell` in the directory `dir` with the plans in `plans`; all of them if that is `None`, after the log had time
/// for `windows` trials.
pub(crate) fn run(
    dir: &Path,
    cell: Cell,
    plans: Option<Vec<WritePlan>>,
    windows: u32,
    seed: u64,
) -> Result<Figures> {
    std::fs::create_dir_all(dir).context("create the directory")?;
    let figures = run_in(dir, cell, plans, windows, seed);
    std::fs::remove_dir_all(dir).context("remove the directory")?;
    figures
}

fn run_in(dir: &Path, cell: Cell, plans: Option<Vec<WritePlan>>, windows: u32, seed: u64) -> Result<Figures> {
    let env = Env {
        disk: TimedDisk::open(dir, cell.device).context("open the directory")?,
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
        threads: Threads::Spawned,
    };
    let wal =
        Wal::create_in(env, &Options::default().with_segment_bytes(16 << 20)).context("create a log")?;
    let window = Duration::from_nanos(cell.device.flush_ns * 8).max(Duration::from_millis(8));
    let learning = if plans.is_none() { window * windows } else { window * 12 };
    if let Some(plans) = plans {
        write_plans::restrict(&wal, plans);
    }
    let bimodal = if cell.device.kind == Kind::Bimodal { 4 } else { 0 };
    let measured = Duration::from_nanos(cell.device.flush_ns * 100)
        .max(Duration::from_millis(400))
        .max(Duration::from_secs(bimodal));
    let measured_from = Instant::now() + learning;
    let end = measured_from + measured;
    let seen = Arc::default();
    let run = Run { wal, cell, seed, measured_from, end, segment: AtomicU32::new(0), seen };
    match cell.load {
        Load::Lockstep => run.lockstep()?,
        Load::Oldest => run.oldest()?,
        Load::Replace => run.replace()?,
        Load::Open => run.open_loop()?,
        Load::Think | Load::LoneInCrowd => run.users()?,
    }
    run.wal.flush().context("flush")?;
    let mut seen = std::mem::take(&mut *run.seen.lock());
    run.wal.close().context("close")?;
    seen.waits_ns.sort_unstable();
    let rate = seen.records as f64 / measured.as_secs_f64();
    Ok(Figures { rate, p50_us: quantile_us(&seen.waits_ns, 0.5), p99_us: quantile_us(&seen.waits_ns, 0.99) })
}

impl Run {
    fn record(&self) -> RecordBuilder {
        let mut record = RecordBuilder::new();
        record.push_part(&[1; 64]);
        record
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    fn append(&self, record: &RecordBuilder) -> Result<Ticket> {
        let ticket = self.wal.append(record, Durability::Sync).context("append")?;
        let segment = ticket.lsn().segment();
        if self.segment.load(Ordering::Relaxed) != segment
            && self.segment.swap(segment, Ordering::Relaxed) != segment
        {
            self.wal.release(segment.saturating_sub(1)).context("release")?;
        }
        Ok(ticket)
    }

    /// Counts records that are durable now, by the time of their append.
    fn count(&self, appended: impl IntoIterator<Item = Instant>) {
        let now = Instant::now();
        if now >= self.measured_from && now < self.end {
            self.seen.lock().add(appended, now);
        }
    }

    fn lockstep(&self) -> Result<()> {
        let record = self.record();
        while self.goes_on() {
            let mut begun = Vec::with_capacity(IN_FLIGHT);
            let mut last = None;
            for _ in 0..IN_FLIGHT {
                begun.push(Instant::now());
                last = Some(self.append(&record)?);
            }
            last.context("records")?.wait().context("wait")?;
            self.count(begun);
        }
        Ok(())
    }

    fn oldest(&self) -> Result<()> {
        let (record, mut open) = (self.record(), VecDeque::new());
        while self.goes_on() {
            while open.len() < IN_FLIGHT {
                let begun = Instant::now();
                open.push_back((self.append(&record)?.lsn(), begun));
            }
            let Some(&(oldest, _)) = open.front() else { continue };
            let durable = self.wal.wait_past(oldest, Duration::MAX).context("wait")?;
            let count = open.iter().take_while(|(lsn, _)| *lsn < durable).count();
            self.count(open.drain(..count).map(|(_, begun)| begun));
        }
        Ok(())
    }

    fn replace(&self) -> Result<()> {
        let (record, (sender, receiver)) = (self.record(), channel());
        let append = || -> Result<()> {
            let (begun, sender) = (Instant::now(), sender.clone());
            // The receiver is gone only if the run has failed.
            self.append(&record)?
                .on_durable(move |result| _ = sender.send(result.map(|_| (begun, Instant::now()))));
            Ok(())
        };
        (0..IN_FLIGHT).try_for_each(|_| append())?;
        while self.goes_on() {
            let (begun, durable) = receiver.recv().context("a callback")?.context("write")?;
            if durable >= self.measured_from {
                self.seen.lock().add([begun], durable);
            }
            append()?;
        }
        Ok(())
    }

    fn open_loop(&self) -> Result<()> {
        let (record, mut random) = (self.record(), Random(self.seed));
        let mean_ns = (self.cell.device.flush_ns * 3 / IN_FLIGHT as u64).max(ARRIVALS_NS);
        let mut next = Instant::now();
        while self.goes_on() {
            pause(next.saturating_duration_since(Instant::now()));
            let (begun, seen, measured_from) = (next, Arc::clone(&self.seen), self.measured_from);
            self.append(&record)?.on_durable(move |result| {
                let now = Instant::now();
                if result.is_ok() && now >= measured_from {
                    seen.lock().add([begun], now);
                }
            });
            next += Duration::from_nanos(random.exponential_ns(mean_ns));
        }
        Ok(())
    }

    /// Users with a thread each, that think between two records; of a lone one among them only its own are measured.
    fn users(&self) -> Result<()> {
        let lone = self.cell.load == Load::LoneInCrowd;
        let work = |user: usize| -> Result<()> {
            let (record, mut random) = (self.record(), Random(self.seed + user as u64));
            while self.goes_on() {
                let begun = Instant::now();
                self.append(&record)?.wait().context("wait")?;
                if !lone || user == 0 {
                    self.count([begun]);
                }
                if !lone || user > 0 {
                    pause(Duration::from_nanos(random.exponential_ns(self.cell.device.flush_ns * 2)));
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let users: Vec<_> = (0..IN_FLIGHT).map(|user| scope.spawn(move || work(user))).collect();
            users.into_iter().try_for_each(|user| user.join().map_err(|_| anyhow!("a user panicked"))?)
        })
    }
}

impl Seen {
    fn add(&mut self, begun: impl IntoIterator<Item = Instant>, durable: Instant) {
        for begun in begun {
            self.records += 1;
            let waited = durable.saturating_duration_since(begun).as_nanos();
            self.waits_ns.push(u64::try_from(waited).unwrap_or(u64::MAX));
        }
    }
}

fn pause(time: Duration) {
    let end = Instant::now() + time;
    if time > SPIN {
        thread::sleep(time);
    }
    while Instant::now() < end {
        thread::yield_now();
    }
}
