//! Row 3: thousands of groups that append and compact, a few of them a hundred times slower than the others, so that
//! their few entries would keep every file alive.
//!
//! Seawall runs twice, with and without rewriting, and raft-engine with its purge called by a thread of its own. They
//! take turns, one slice of the load each. Every batch has entries of several groups, in a random order of groups.
//! Meanwhile the blocks of all files are added up repeatedly and compared with the live data at that time.

use crate::args::Site;
use crate::load::{Appending, Share, count, latencies, tidied};
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Line, Outcome, take_turns};
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use seawall_compare::bar::Bar;
use seawall_harness::device::Device;
use seawall_harness::load::{Target, payload};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Least number of bytes that an entry takes in the log besides its payload. In a batch with one entry per group, an
/// entry has an operation of 40 bytes and 8 bytes in the part table.
const FRAME_BYTES: u64 = 48;
/// Bytes that files may take in addition to three times the live data.
const DISK_SLACK_BYTES: u64 = 512 << 20;
/// Pause between two measurements of the files.
const LOOK: Duration = Duration::from_millis(20);
const MIB: f64 = 1_048_576.0;

/// Slow groups among many.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Groups
    #[arg(long, default_value_t = 10_000)]
    groups: u64,
    /// Groups that are a hundred times slower
    #[arg(long, default_value_t = 50)]
    slow: u64,
    /// Entries that a compacted group keeps; a group with half as many again is compacted
    #[arg(long, default_value_t = 16)]
    keep: u64,
    /// Payload of an entry
    #[arg(long, default_value_t = 4096)]
    bytes: usize,
    /// Number of groups that one batch has an entry of
    #[arg(long, default_value_t = 16)]
    per_batch: u64,
    /// Threads
    #[arg(long, default_value_t = 16)]
    threads: u64,
    /// Payload that each line writes
    #[arg(long, default_value_t = 20 << 10)]
    mib: u64,
    /// Payload of one slice; lines take turns between slices
    #[arg(long, default_value_t = 256)]
    slice_mib: u64,
    /// Size of raft-engine's files above which it purges: three times the live data plus the slack, as for Seawall
    #[arg(long, default_value_t = 3 << 10)]
    purge_mib: u64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { groups: 400, slow: 4, threads: 4, mib: 48, slice_mib: 16, ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        // The line without rewriting keeps everything; the others stay near raft-engine's purge limit.
        (self.mib << 20) * 11 / 10 + (self.purge_mib << 20) * 3
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let data = Bytes::from(payload(site.seed, self.bytes));
        let setup = Setup { purge_bytes: Some(self.purge_mib << 20), ..Setup::default() };
        let still = Setup { slack_bytes: None, ..setup };
        let ours: Churn<'_, Seawall> = Churn::create(self, site.dir.join("rewriting"), &setup, &data)?;
        let without: Churn<'_, Seawall> = Churn::create(self, site.dir.join("still"), &still, &data)?;
        let theirs: Churn<'_, RaftEngine> = Churn::create(self, site.dir.join("theirs"), &setup, &data)?;
        let lines = vec![
            Line::new("seawall", || ours.slice()),
            Line::new("seawall, no rewriting", || without.slice()),
            Line::new(RaftEngine::NAME, || theirs.slice()),
        ];
        let slices = usize::try_from(self.mib.div_ceil(self.slice_mib))?;
        let title = format!(
            "{} MiB in {} groups, {} of them slow, {} B, {} per batch",
            self.mib, self.groups, self.slow, self.bytes, self.per_batch
        );
        let rounds = take_turns(&title, site.dir, slices, lines)?;
        let seen = [ours.end()?, without.end()?, theirs.end()?];
        let [first, second, _] = &seen;
        let over = |figure: fn(&Seen) -> f64| figure(first) / figure(second);
        let checks = vec![
            Check::new("disk over 3 x live + 512 MiB, at most", first.disk_share, Bar::AtMost(1.0)),
            Check::new("p99 over that without rewriting", over(|seen| seen.p99_us), Bar::AtMost(1.5)),
            Check::new(
                "p99.9 at rotations over p99.9 elsewhere",
                first.turn_p999_us / first.p999_us,
                Bar::AtMost(2.0),
            ),
            Check::new(
                "p99.9 at rotations over that without rewriting",
                over(|seen| seen.turn_p999_us),
                Bar::AtMost(2.0),
            ),
        ];
        let mut outcome = rounds.outcome(3, title, checks);
        for (line, seen) in outcome.lines.iter_mut().zip(&seen) {
            // Latencies are computed over all slices together, because one slice has too few for its tail.
            line.figures.retain(|(name, _)| *name == "MiB/s");
            line.figures.extend(seen.figures());
        }
        outcome.notes.push("p99.9 turn: writes that are a thread's first in a segment".to_owned());
        Ok(vec![outcome])
    }
}

/// Measurements of a line over all slices.
struct Seen {
    p50_us: f64,
    p99_us: f64,
    /// p99.9 of writes that are not a thread's first in their segment.
    p999_us: f64,
    /// p99.9 of writes that are a thread's first in their segment.
    turn_p999_us: f64,
    max_us: f64,
    /// Peak size of the files, and the peak excess over the allowed size.
    disk_mib: f64,
    disk_share: f64,
    live_mib: f64,
    device: f64,
}

impl Seen {
    fn figures(&self) -> Figures {
        vec![
            ("p50 us", self.p50_us),
            ("p99 us", self.p99_us),
            ("p99.9 us", self.p999_us),
            ("p99.9 turn", self.turn_p999_us),
            ("max us", self.max_us),
            ("disk MiB", self.disk_mib),
            ("live MiB", self.live_mib),
            ("disk share", self.disk_share),
            ("dev bytes/byte", self.device),
        ]
    }
}

/// Latencies of one thread, or of all threads.
struct Times {
    /// Writes that are a thread's first in their segment, and all other writes.
    turns: Histogram<u64>,
    others: Histogram<u64>,
}

impl Times {
    fn new() -> Result<Times> {
        Ok(Times { turns: latencies()?, others: latencies()? })
    }

    fn add(&mut self, more: &Times) -> Result<()> {
        let broken = |e| anyhow!("a histogram: {e}");
        self.turns.add(&more.turns).map_err(broken)?;
        self.others.add(&more.others).map_err(broken)
    }
}

/// Peak sizes of the files.
#[derive(Default)]
struct Disk {
    bytes: u64,
    share: f64,
    live: u64,
}

/// An engine under the load.
struct Churn<'a, S: Store> {
    load: &'a Load,
    store: S,
    dir: PathBuf,
    data: Bytes,
    /// The groups of each thread and their progress.
    shares: Vec<Mutex<Share<S::Writer>>>,
    live: AtomicU64,
    times: Mutex<Times>,
    disk: Mutex<Disk>,
    device_bytes: AtomicU64,
}

impl<'a, S: Store> Churn<'a, S> {
    fn create(load: &'a Load, dir: PathBuf, setup: &Setup, data: &Bytes) -> Result<Churn<'a, S>> {
        let store = S::create(&dir, setup)?;
        let mut churn = Churn {
            load,
            store,
            dir,
            data: data.clone(),
            shares: Vec::new(),
            live: AtomicU64::new(0),
            times: Mutex::new(Times::new()?),
            disk: Mutex::default(),
            device_bytes: AtomicU64::new(0),
        };
        churn.shares = (0..load.threads).map(|key| Mutex::new(churn.appending().producer(key))).collect();
        Ok(churn)
    }

    fn appending(&self) -> Appending<'_, S> {
        let Load { groups, slow, keep, per_batch, threads, .. } = *self.load;
        Appending { store: &self.store, groups, threads, per_batch, slow, keep, data: self.data.clone() }
    }

    /// Runs one slice of the load, while another thread measures the files.
    fn slice(&self) -> Result<Figures> {
        let device = Device::below(&self.dir).ok();
        let before = device.as_ref().map(Device::read).transpose()?;
        let (begin, done) = (Instant::now(), AtomicBool::new(false));
        thread::scope(|scope| {
            let looking = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    self.look()?;
                    thread::sleep(LOOK);
                }
                self.look()
            });
            let appended = tidied(&self.store, || self.append());
            done.store(true, Ordering::Relaxed);
            looking.join().map_err(|_| anyhow!("the looking thread panicked"))??;
            appended
        })?;
        let seconds = begin.elapsed().as_secs_f64();
        if let Some((device, before)) = device.zip(before) {
            let bytes = device.read()?.since(&before).write_bytes;
            self.device_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(vec![("MiB/s", self.load.slice_mib as f64 / seconds)])
    }

    fn append(&self) -> Result<()> {
        let payload_bytes = self.load.per_batch * self.load.bytes as u64;
        let batches = AtomicU64::new((self.load.slice_mib << 20).div_ceil(payload_bytes));
        thread::scope(|scope| {
            let threads: Vec<_> =
                self.shares.iter().map(|share| scope.spawn(|| self.append_alone(share, &batches))).collect();
            for thread in threads {
                let times = thread.join().unwrap_or_else(|_| Err(anyhow!("an appending thread panicked")))?;
                self.times.lock().add(&times)?;
            }
            Ok(())
        })
    }

    /// Runs one thread: appends and waits until no batches are left.
    fn append_alone(&self, share: &Mutex<Share<S::Writer>>, batches: &AtomicU64) -> Result<Times> {
        let (mut times, appending) = (Times::new()?, self.appending());
        let (mut share, mut segment) = (share.lock(), None);
        let take = |left: u64| left.checked_sub(1);
        while batches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let (appended, dropped) = (share.appended, share.dropped);
            let begin = Instant::now();
            let ticket = appending.append(&mut share, &[])?;
            let now = S::segment(&ticket);
            appending.wait(ticket)?;
            let is_turn = segment.is_some() && segment != now;
            segment = now;
            count(if is_turn { &mut times.turns } else { &mut times.others }, begin);
            // Compaction drops fewer entries than were appended, by this thread too.
            self.live.fetch_add(share.appended - appended, Ordering::Relaxed);
            self.live.fetch_sub(share.dropped - dropped, Ordering::Relaxed);
        }
        Ok(times)
    }

    fn look(&self) -> Result<()> {
        // Read before the files are measured: appends in between make the ratio larger, not smaller.
        let live = self.live.load(Ordering::Relaxed) * (self.load.bytes as u64 + FRAME_BYTES);
        let bytes = blocks(&self.dir)?;
        let share = bytes as f64 / (3 * live + DISK_SLACK_BYTES) as f64;
        let mut disk = self.disk.lock();
        disk.bytes = disk.bytes.max(bytes);
        disk.live = disk.live.max(live);
        disk.share = disk.share.max(share);
        Ok(())
    }

    /// Closes the engine, removes its files, and returns the measurements.
    fn end(self) -> Result<Seen> {
        let Churn { load, store, dir, times, disk, device_bytes, .. } = self;
        store.close()?;
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        let (Times { turns, others }, disk) = (times.into_inner(), disk.into_inner());
        let us = |of: &Histogram<u64>, quantile| {
            if of.is_empty() { f64::NAN } else { of.value_at_quantile(quantile) as f64 / 1e3 }
        };
        let slices = load.mib.div_ceil(load.slice_mib);
        let payload_bytes = (slices * load.slice_mib) << 20;
        Ok(Seen {
            p50_us: us(&others, 0.5),
            p99_us: us(&others, 0.99),
            p999_us: us(&others, 0.999),
            turn_p999_us: us(&turns, 0.999),
            max_us: turns.max().max(others.max()) as f64 / 1e3,
            disk_mib: disk.bytes as f64 / MIB,
            disk_share: disk.share,
            live_mib: disk.live as f64 / MIB,
            device: device_bytes.into_inner() as f64 / payload_bytes as f64,
        })
    }
}

/// Bytes of the blocks of all files in a directory.
fn blocks(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        // A file that has disappeared meanwhile takes no space.
        let meta = entry.ok().and_then(|entry| entry.metadata().ok());
        bytes += meta.filter(fs::Metadata::is_file).map_or(0, |meta| meta.blocks() * 512);
    }
    Ok(bytes)
}
