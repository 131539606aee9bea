//! One operation on the disk: the state machine hands it out, a thread carries it out without the state lock and
//! reports the outcome.
//!
//! It owns everything it needs, and keeps the directory locked until it has ended.

use crate::commit::directory_lock::LockHolder;
use seawall_disk::{AlignedBuf, DiskFile, ring::RingOp, write_all_at};
use std::io;
use std::sync::Arc;

/// A write or a sync that a thread must carry out and report with
/// [`Committer::complete`](crate::commit::Committer::complete).
#[derive(Debug)]
pub(crate) struct DiskOp {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) sequence: u32,
    pub(super) op: DiskOpKind,
    /// Whether the driver issued it.
    pub(super) driven: bool,
    /// Keeps the directory locked until the operation has ended, even if the log is gone before.
    pub(super) lock: Option<Arc<LockHolder>>,
}

/// The kind of the operation, and what it needs.
#[derive(Debug)]
pub(super) enum DiskOpKind {
    Write { ordinal: u64, buf: Arc<AlignedBuf>, offset: u32, durable: bool },
    Sync,
}

impl DiskOp {
    /// Carries the operation out on the calling thread; continues short writes.
    pub(crate) fn execute(&self) -> io::Result<()> {
        self.execute_from(0)
    }

    /// As [`DiskOp::execute`], for a write whose first `done` bytes are written already.
    pub(super) fn execute_from(&self, done: usize) -> io::Result<()> {
        match &self.op {
            DiskOpKind::Write { buf, offset, durable, .. } => {
                write_all_at(&*self.file, &buf[done..], u64::from(*offset) + done as u64, *durable)
            }
            DiskOpKind::Sync => self.file.sync(),
        }
    }

    /// Called before the operation is leaked: the directory stays locked, and closing the log does not wait for it.
    pub(super) fn never_ends(&self) {
        if let Some(lock) = &self.lock {
            lock.keep();
        }
    }

    /// The request for a ring that carries out the operation, whose first `done` bytes are written already.
    pub(super) fn ring_op(&self, done: usize) -> RingOp {
        match &self.op {
            DiskOpKind::Write { buf, offset, durable, .. } => RingOp::Write {
                buf: Arc::clone(buf),
                from: done,
                offset: u64::from(*offset) + done as u64,
                durable: *durable,
            },
            DiskOpKind::Sync => RingOp::Sync,
        }
    }

    /// Bytes to be written; 0 for a sync.
    pub(super) fn len(&self) -> usize {
        match &self.op {
            DiskOpKind::Write { buf, .. } => buf.len(),
            DiskOpKind::Sync => 0,
        }
    }

    /// Whether it is a sync.
    #[cfg(feature = "sim")]
    pub(crate) fn is_sync(&self) -> bool {
        matches!(self.op, DiskOpKind::Sync)
    }

    /// Writes the bytes without making them durable, as a write in flight may do when the power fails.
    #[cfg(feature = "sim")]
    pub(crate) fn abandon(&self) {
        if let DiskOpKind::Write { buf, offset, .. } = &self.op {
            let _ = write_all_at(&*self.file, buf, u64::from(*offset), false);
        }
    }
}
