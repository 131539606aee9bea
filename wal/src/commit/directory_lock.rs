//! The directory's lock as the log and its operations under way share it. Whoever closes the log waits until the
//! last of them has ended, so that the directory is free when closing returns.

use crate::disk::DiskLock;
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;

/// A share of the lock is an `Arc` of this.
#[derive(Debug)]
pub(crate) struct LockHolder {
    /// `None` for a log that is only read and has none.
    lock: Option<Arc<dyn DiskLock>>,
    freed: Arc<LockRelease>,
}

/// Says when the lock is given up, or will be kept for good.
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

    /// Says that the lock is kept until the process ends, so that nobody waits for it to be given up.
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

    /// Blocks until the lock is given up, or will be kept for good.
    pub(crate) fn wait(&self) {
        let mut done = self.done.lock();
        while !*done {
            self.changed.wait(&mut done);
        }
    }
}
