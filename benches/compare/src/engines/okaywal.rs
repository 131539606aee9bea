//! okaywal: the threads commit. It has no groups, and at most one entry per thread in flight.
//!
//! Its files and buffers are larger than its defaults, and its files are written beforehand, so that a sync changes no
//! metadata.

use super::{Engine, Seen};
use crate::args::Scale;
use crate::load::{Kind, Load, Who};
use anyhow::{Context, Result, bail};
use okaywal::{Configuration, Entry, EntryId, LogManager, LogVoid, SegmentReader, WriteAheadLog};
use parking_lot::Mutex;
use seawall_harness::load::{Drive, Target, drive};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files that exist before the first measurement: one in use, one next, one being freed.
const FILES: usize = 3;
const BUFFER_BYTES: usize = 256 << 10;

/// A log, and the last entry that it recovered.
pub(super) struct Okay {
    log: WriteAheadLog,
    dir: PathBuf,
    file_bytes: u32,
    last: AtomicU64,
}

fn configuration(dir: &Path, file_bytes: u32) -> Configuration {
    Configuration::default_for(dir)
        .preallocate_bytes(file_bytes)
        .checkpoint_after_bytes(u64::from(file_bytes) / 4 * 3)
        .buffer_bytes(BUFFER_BYTES)
}

impl Okay {
    pub(super) fn open(dir: &Path, scale: &Scale) -> Result<Okay> {
        let dir = dir.join("log");
        let log = configuration(&dir, scale.medium_bytes).open(LogVoid).context("open okaywal")?;
        let okay = Okay { log, dir, file_bytes: scale.medium_bytes, last: AtomicU64::new(0) };
        for _ in 0..FILES {
            okay.append(&mut (), b"warm-up")?;
            okay.log.checkpoint_active().context("checkpoint of okaywal")?;
        }
        Ok(okay)
    }
}

impl Engine for Okay {
    fn measure(&self, _who: Who, load: &Load, payload: &[u8]) -> Result<Seen> {
        let Kind::Durable { window } = load.kind else { bail!("okaywal syncs every commit") };
        let how = Drive { threads: load.threads, in_flight: 1, payload, window };
        Ok(Seen::from(&drive(self, how)?))
    }

    fn records(&self) -> Result<Option<u64>> {
        Ok(Some(self.last.load(Ordering::Relaxed)))
    }

    fn read_back(self: Box<Self>, payload: &[u8]) -> Result<Option<Vec<u8>>> {
        // A full file is handed to the user, with its entries. The entry to read back begins another file.
        self.log.checkpoint_active().context("checkpoint of okaywal")?;
        self.append(&mut (), payload)?;
        let Okay { log, dir, file_bytes, .. } = *self;
        log.shutdown().context("shut okaywal down")?;
        let found = Arc::new(Mutex::new(None));
        let keep = KeepLast(Arc::clone(&found));
        let log = configuration(&dir, file_bytes).open(keep).context("open okaywal")?;
        log.shutdown().context("shut okaywal down")?;
        let last: Option<Vec<u8>> = found.lock().take();
        Ok(Some(last.context("okaywal recovered nothing")?))
    }
}

impl Target for Okay {
    type Producer = ();
    type Ticket = ();

    fn producer(&self, _key: u64) {}

    fn append(&self, (): &mut (), payload: &[u8]) -> Result<()> {
        let mut entry = self.log.begin_entry().context("begin an entry of okaywal")?;
        entry.write_chunk(payload).context("write to okaywal")?;
        let EntryId(id) = entry.commit().context("commit to okaywal")?;
        self.last.fetch_max(id, Ordering::Relaxed);
        Ok(())
    }

    fn wait(&self, (): ()) -> Result<()> {
        Ok(())
    }
}

/// Keeps the payload of the last entry that is recovered.
#[derive(Debug)]
struct KeepLast(Arc<Mutex<Option<Vec<u8>>>>);

impl LogManager for KeepLast {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        if let Some(chunks) = entry.read_all_chunks()? {
            *self.0.lock() = chunks.into_iter().next();
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}
