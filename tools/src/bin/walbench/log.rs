//! The log under test: the only file of walbench that knows the log's own interface.
//!
//! Records are appended durably under the thread's key and released once the log has gone on to the next
//! segment, as a replica does behind its snapshots, so that a run needs a bounded number of segments.

use crate::args;
use crate::load::Target;
use anyhow::{Context, Result};
use seawall_wal::{Batch, Class, Options, Strategy, Ticket, Wal};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// A log in a directory of its own.
pub(crate) struct Log {
    wal: Wal,
    /// Everything below this segment has been released.
    released: AtomicU32,
}

impl Log {
    /// Creates the log in `dir`.
    pub(crate) fn create(dir: &Path, args: &args::RunArgs) -> Result<Log> {
        let strategy = match args.strategy {
            args::Strategy::Auto => Strategy::Auto,
            args::Strategy::Direct => Strategy::Direct,
            args::Strategy::Sync => Strategy::Sync,
        };
        let options = Options { segment_bytes: args.segment_bytes, strategy, ..Options::default() };
        let dir = dir.join("log");
        fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        let wal = Wal::create(&dir, &options).context("create the log")?;
        Ok(Log { wal, released: AtomicU32::new(0) })
    }

    pub(crate) fn close(self) -> Result<()> {
        self.wal.close().context("close the log")
    }
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
