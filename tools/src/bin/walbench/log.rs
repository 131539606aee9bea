//! The log under test: the only file of walbench that calls the log; its numbers go on to `counters`.
//!
//! Records are appended durably under the thread's key and released once the log has gone on to the next
//! segment, as a replica does behind its snapshots, so that a run needs a bounded number of segments.

use crate::args;
use crate::load::Target;
use anyhow::{Context, Result, ensure};
use seawall_wal::{Batch, Class, Options, Stats, Strategy, Ticket, Wal};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a log that has its spares must stay unchanged to count as settled.
const SETTLED: Duration = Duration::from_millis(300);
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Payload of one append while a log is filled.
const FILL_BYTES: usize = 64 << 10;

/// A log in a directory of its own.
pub(crate) struct Log {
    wal: Wal,
    spares: usize,
    /// Everything below this segment has been released.
    released: AtomicU32,
}

impl Log {
    /// Creates the log in `dir`, which is made too.
    pub(crate) fn create(dir: &Path, segment_bytes: u32, strategy: args::Strategy) -> Result<Log> {
        let options = options(segment_bytes, strategy);
        let wal = Wal::create(dir, &options).context("create the log")?;
        Ok(Log { wal, spares: options.spares as usize, released: AtomicU32::new(0) })
    }

    /// Opens the log in `dir`; also says how long it scanned.
    pub(crate) fn open(dir: &Path, segment_bytes: u32, strategy: args::Strategy) -> Result<(Log, Duration)> {
        let options = options(segment_bytes, strategy);
        let (wal, report) = Wal::open(dir, &options).context("open the log")?;
        let log = Log { wal, spares: options.spares as usize, released: AtomicU32::new(0) };
        Ok((log, report.took.scan))
    }

    /// The log's own numbers, since it was opened.
    pub(crate) fn stats(&self) -> Stats {
        self.wal.stats()
    }

    /// Waits until the log prepares nothing any more: spares there, their blocks written.
    pub(crate) fn settle(&self) -> Result<()> {
        let begin = Instant::now();
        let (mut seen, mut since) = (u64::MAX, begin);
        loop {
            let stats = self.wal.stats();
            let ready = stats.spares_zeroed + stats.spares_stale >= self.spares;
            if !ready || stats.pipeline_bytes != seen {
                (seen, since) = (stats.pipeline_bytes, Instant::now());
            } else if since.elapsed() >= SETTLED {
                return Ok(());
            }
            ensure!(begin.elapsed() < SETTLE_MAX, "the log's spares are not ready after {SETTLE_MAX:?}");
            thread::sleep(SETTLED / 20);
        }
    }

    /// Appends at least `bytes` of payload, durably, and releases nothing.
    pub(crate) fn fill(&self, bytes: u64, payload: u8) -> Result<()> {
        let mut batch = Batch::new();
        batch.push_part(&[payload; FILL_BYTES]);
        let mut last = None;
        for _ in 0..bytes.div_ceil(FILL_BYTES as u64) {
            last = Some(self.wal.append(&batch, Class::Sync).context("append to the log")?);
        }
        last.map_or(Ok(()), |ticket| self.wait(ticket))
    }

    /// Lets go of the log as a kill would: no mark, nothing flushed.
    pub(crate) fn abandon(self) {
        drop(self.wal);
    }

    pub(crate) fn close(self) -> Result<()> {
        self.wal.close().context("close the log")
    }
}

fn options(segment_bytes: u32, strategy: args::Strategy) -> Options {
    let strategy = match strategy {
        args::Strategy::Auto => Strategy::Auto,
        args::Strategy::Direct => Strategy::Direct,
        args::Strategy::Sync => Strategy::Sync,
    };
    Options { segment_bytes, strategy, ..Options::default() }
}

/// One thread's batch, reused, and its key.
pub(crate) struct Producer {
    batch: Batch,
    key: u64,
}

impl Target for Log {
    type Producer = Producer;
    type Ticket = Ticket;

    fn producer(&self, key: u64) -> Producer {
        Producer { batch: Batch::new(), key }
    }

    fn append(&self, producer: &mut Producer, payload: &[u8]) -> Result<Ticket> {
        let Producer { batch, key } = producer;
        batch.clear();
        batch.meta().extend_from_slice(&key.to_le_bytes());
        batch.push_part(payload);
        let ticket = self.wal.append(batch, Class::Sync).context("append to the log")?;
        let segment = ticket.lsn().segment();
        if segment > self.released.load(Ordering::Relaxed)
            && self.released.fetch_max(segment, Ordering::Relaxed) < segment
        {
            self.wal.release(segment).context("release segments of the log")?;
        }
        Ok(ticket)
    }

    fn wait(&self, ticket: Ticket) -> Result<()> {
        ticket.wait().context("durable append to the log")?;
        Ok(())
    }
}
