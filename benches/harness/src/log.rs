//! The log under test, as a target of loads.
//!
//! Records are appended durably under the thread's key. When the log moves to the next segment, older segments are
//! released, as a replica releases them after a snapshot, so that a run needs a bounded number of segments.

use crate::load::Target;
use anyhow::{Context, Result, ensure};
use seawall_wal::{Durability, Lsn, Options, RecordBuilder, Ticket, Wal, stats::Stats};
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
#[derive(Debug)]
pub struct Log {
    wal: Wal,
    spares: usize,
    /// Everything below this segment has been released.
    released: AtomicU32,
}

impl Log {
    /// Creates the log in `dir`. Creates the directory too.
    pub fn create(dir: &Path, options: &Options) -> Result<Log> {
        let wal = Wal::create(dir, options).context("create the log")?;
        Ok(Log { wal, spares: options.spare_segments as usize, released: AtomicU32::new(0) })
    }

    /// Opens the log in `dir`. Also returns how long the scan took.
    pub fn open(dir: &Path, options: &Options) -> Result<(Log, Duration)> {
        let (wal, report) = Wal::open(dir, options).context("open the log")?;
        let log = Log { wal, spares: options.spare_segments as usize, released: AtomicU32::new(0) };
        Ok((log, report.took.scan))
    }

    /// Statistics of the log since it was opened.
    pub fn stats(&self) -> Stats {
        self.wal.stats()
    }

    /// Waits until the log has prepared its spare segments and their blocks are written.
    pub fn settle(&self) -> Result<()> {
        let begin = Instant::now();
        let (mut seen, mut since) = (u64::MAX, begin);
        loop {
            let stats = self.wal.stats();
            let ready = stats.spares_zeroed + stats.spares_stale >= self.spares;
            if !ready || stats.preallocated_bytes != seen {
                (seen, since) = (stats.preallocated_bytes, Instant::now());
            } else if since.elapsed() >= SETTLED {
                return Ok(());
            }
            ensure!(begin.elapsed() < SETTLE_MAX, "the log's spares are not ready after {SETTLE_MAX:?}");
            thread::sleep(SETTLED / 20);
        }
    }

    /// Appends at least `bytes` of payload durably and releases nothing.
    pub fn fill(&self, bytes: u64, payload: u8) -> Result<()> {
        let mut batch = RecordBuilder::new();
        batch.push_part(&[payload; FILL_BYTES]);
        let mut last = None;
        for _ in 0..bytes.div_ceil(FILL_BYTES as u64) {
            last = Some(self.wal.append(&batch, Durability::Sync).context("append to the log")?);
        }
        last.map_or(Ok(()), |ticket| self.wait(ticket))
    }

    /// Appends under the producer's key and releases the segments before the one in use.
    pub fn append_as(&self, producer: &mut Producer, payload: &[u8], class: Durability) -> Result<Ticket> {
        let Producer { batch, key } = producer;
        batch.clear();
        batch.meta().extend_from_slice(&key.to_le_bytes());
        batch.push_part(payload);
        let ticket = self.wal.append(batch, class).context("append to the log")?;
        let segment = ticket.lsn().segment();
        if segment > self.released.load(Ordering::Relaxed)
            && self.released.fetch_max(segment, Ordering::Relaxed) < segment
        {
            self.wal.release(segment).context("release segments of the log")?;
        }
        Ok(ticket)
    }

    /// Waits until the append at `lsn` is durable. Returns the end of the durable log.
    pub fn wait_past(&self, lsn: Lsn) -> Result<Lsn> {
        self.wal.wait_past(lsn, Duration::MAX).context("durable append to the log")
    }

    /// Makes everything appended durable.
    pub fn flush(&self) -> Result<()> {
        self.wal.flush().context("flush the log")?;
        Ok(())
    }

    /// Drops the log as a kill would: no flush, no mark.
    pub fn abandon(self) {
        drop(self.wal);
    }

    /// Closes the log cleanly.
    pub fn close(self) -> Result<()> {
        self.wal.close().context("close the log")
    }
}

/// The record builder of one thread, reused for all its appends, and the thread's key.
#[derive(Debug)]
pub struct Producer {
    batch: RecordBuilder,
    key: u64,
}

impl Target for Log {
    type Producer = Producer;
    type Ticket = Ticket;

    fn producer(&self, key: u64) -> Producer {
        Producer { batch: RecordBuilder::new(), key }
    }

    fn append(&self, producer: &mut Producer, payload: &[u8]) -> Result<Ticket> {
        self.append_as(producer, payload, Durability::Sync)
    }

    fn wait(&self, ticket: Ticket) -> Result<()> {
        ticket.wait().context("durable append to the log")?;
        Ok(())
    }
}
