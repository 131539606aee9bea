//! One operation on the disk: handed out by the state machine, carried out without its lock, reported
//! back. It owns all it needs, and keeps the directory locked until it has ended.

use crate::commit::directory_lock::LockHolder;
use crate::disk::{AlignedBuf, DiskFile, RingOp, write_all_at};
use std::io;
use std::sync::Arc;

/// One operation on the disk that somebody must carry out and report.
#[derive(Debug)]
pub(crate) struct DiskOp {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) sequence: u32,
    pub(super) op: DiskOpKind,
    /// It is the driver's.
    pub(super) driven: bool,
    /// Keeps the directory locked until the operation has ended, whatever becomes of the log.
    pub(super) lock: Option<Arc<LockHolder>>,
}

/// What it does.
#[derive(Debug)]
pub(super) enum DiskOpKind {
    Write { ordinal: u64, buf: Arc<AlignedBuf>, offset: u32, durable: bool },
    Sync,
}

impl DiskOp {
    /// Carries the operation out, short writes continued.
    pub(crate) fn execute(&self) -> io::Result<()> {
        self.execute_from(0)
    }

    /// As [`Io::execute`], of a write whose first `done` bytes are written.
    pub(super) fn execute_from(&self, done: usize) -> io::Result<()> {
        match &self.op {
            DiskOpKind::Write { buf, offset, durable, .. } => {
                write_all_at(&*self.file, &buf[done..], u64::from(*offset) + done as u64, *durable)
            }
            DiskOpKind::Sync => self.file.sync(),
        }
    }

    /// Says that it will be leaked: the directory stays locked, and closing the log does not wait for it.
    pub(super) fn never_ends(&self) {
        if let Some(lock) = &self.lock {
            lock.keep();
        }
    }

    /// What a ring is to do for it, whose first `done` bytes are written.
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

    /// Bytes to be written.
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

    /// What a write in flight may leave behind if the power goes: its bytes, not known durable.
    #[cfg(feature = "sim")]
    pub(crate) fn abandon(&self) {
        if let DiskOpKind::Write { buf, offset, .. } = &self.op {
            let _ = write_all_at(&*self.file, buf, u64::from(*offset), false);
        }
    }
}
