//! Shares the directory's lock between the log and its operations under way.
//!
//! Closing the log waits until the last operation has ended, so the directory is free when `close` returns.

use crate::sync::{Condvar, Mutex};
use seawall_disk::DiskLock;
use std::sync::Arc;

/// Holds the directory's lock. The log and each operation under way own an `Arc` of it; the last one releases the lock.
#[derive(Debug)]
pub(crate) struct LockHolder {
    /// `None` for a log that is opened for reading only, without a lock.
    lock: Option<Arc<dyn DiskLock>>,
    freed: Arc<LockRelease>,
}

/// Signals that the lock was released, or will be kept until the process ends.
#[derive(Debug, Default)]
pub(crate) struct LockRelease {
    done: Mutex<bool>,
    changed: Condvar,
}

impl LockHolder {
    pub(super) fn new(lock: Option<Arc<dyn DiskLock>>) -> LockHolder {
        LockHolder { lock, freed: Arc::default() }
    }

    pub(super) fn freed(&self) -> Arc<LockRelease> {
        Arc::clone(&self.freed)
    }

    /// Ends every wait for the release; the lock is kept until the process ends.
    pub(super) fn keep(&self) {
        self.freed.finish();
    }
}

impl Drop for LockHolder {
    fn drop(&mut self) {
        self.lock = None;
        self.freed.finish();
    }
}

impl LockRelease {
    fn finish(&self) {
        *self.done.lock() = true;
        self.changed.notify_all();
    }

    /// Blocks until the lock is released, or is known to be kept until the process ends.
    pub(crate) fn wait(&self) {
        let mut done = self.done.lock();
        while !*done {
            self.changed.wait(&mut done);
        }
    }
}
