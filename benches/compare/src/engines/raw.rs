//! The references that no engine can beat: raw durable writes into written blocks, and a group commit without a log.

use super::{Engine, Seen};
use crate::args::Scale;
use crate::load::{Kind, Load, Who};
use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use seawall_harness::bare::{Bare, BareWriter};
use seawall_harness::floor::Floor;
use seawall_harness::load::{Drive, Target, drive};
use seawall_harness::medium::{Medium, supports_direct};
use seawall_wal::disk::{AlignedBuf, Disk, Mode, PosixDisk};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Raw durable writes of one strategy.
pub(super) struct Raw {
    medium: Arc<Mutex<Medium>>,
    block_bytes: usize,
    writes: AtomicU64,
}

impl Raw {
    pub(super) fn create(dir: &Path, mode: Mode, scale: &Scale) -> Result<Raw> {
        let disk = PosixDisk::open(dir, None).context("open the working directory")?;
        Ok(Raw {
            medium: Arc::new(Mutex::new(Medium::create(dir, "floor", mode, scale.medium_bytes)?)),
            block_bytes: disk.block_size() as usize,
            writes: AtomicU64::new(0),
        })
    }
}

impl Engine for Raw {
    fn measure(&self, _who: Who, load: &Load, payload: &[u8]) -> Result<Seen> {
        let Kind::Durable { window } = load.kind else { bail!("raw writes are always durable") };
        let how = Drive { threads: load.threads, in_flight: 1, payload, window };
        let sample = if load.threads == 1 {
            drive(&Floor::new(Arc::clone(&self.medium)), how)?
        } else {
            drive(&Deep { medium: &self.medium, block_bytes: self.block_bytes }, how)?
        };
        self.writes.fetch_add(sample.appended, Ordering::Relaxed);
        Ok(Seen::from(&sample))
    }

    fn syncs(&self) -> Result<Option<u64>> {
        Ok(Some(self.writes.load(Ordering::Relaxed)))
    }

    fn read_back(self: Box<Self>, _payload: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// Concurrent writes by several threads of the payload alone, without headers or copies.
struct Deep<'a> {
    medium: &'a Mutex<Medium>,
    block_bytes: usize,
}

impl Target for Deep<'_> {
    type Producer = AlignedBuf;
    type Ticket = ();

    fn producer(&self, _key: u64) -> AlignedBuf {
        AlignedBuf::new()
    }

    fn append(&self, buf: &mut AlignedBuf, payload: &[u8]) -> Result<()> {
        if buf.is_empty() {
            buf.extend(payload);
            buf.resize(payload.len().next_multiple_of(self.block_bytes));
        }
        let slot = self.medium.lock().reserve(buf.len() as u64);
        slot.write(buf).context("raw durable write")
    }

    fn wait(&self, (): ()) -> Result<()> {
        Ok(())
    }
}

/// A group commit without a log, with the strategy that the log would choose.
pub(super) struct BareCommit {
    bare: Bare,
    writer: BareWriter,
}

impl BareCommit {
    pub(super) fn create(dir: &Path, scale: &Scale) -> Result<BareCommit> {
        let disk = PosixDisk::open(dir, None).context("open the working directory")?;
        let mode = if supports_direct(dir)? { disk.mode() } else { Mode::Buffered };
        let medium = Arc::new(Mutex::new(Medium::create(dir, "bare", mode, scale.medium_bytes)?));
        Ok(BareCommit { bare: Bare::new(Arc::clone(&medium)), writer: BareWriter::start(medium)? })
    }
}

impl Engine for BareCommit {
    fn measure(&self, _who: Who, load: &Load, payload: &[u8]) -> Result<Seen> {
        let Kind::Durable { window } = load.kind else { bail!("a group commit is always durable") };
        let how = Drive { threads: load.threads, in_flight: load.in_flight, payload, window };
        let sample = if load.in_flight == 1 { drive(&self.bare, how) } else { drive(&self.writer, how) };
        Ok(Seen::from(&sample?))
    }

    fn read_back(self: Box<Self>, _payload: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}
