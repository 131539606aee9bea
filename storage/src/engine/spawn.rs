//! Runs work for the engine's modules and adapters on background threads.
//!
//! Queued work does not keep the engine alive.

#[cfg(feature = "raft-rs")]
use std::sync::Arc;

use crate::engine::handle::Engine;
#[cfg(feature = "raft-rs")]
use crate::engine::user_handle::UserHandle;

impl Engine {
    /// Runs `work` on the engine's task thread. It does not run if the engine is gone before.
    #[cfg(feature = "raft-rs")]
    pub(crate) fn run_beside(&self, work: impl FnOnce(&Engine) + Send + 'static) {
        // Weak: work that is queued in an engine must not keep it alive.
        let core = Arc::downgrade(self.0.core());
        self.0.task_pool.submit(Box::new(move || {
            if let Some(core) = core.upgrade() {
                work(&Engine(UserHandle::of_the_engine(core)));
            }
        }));
    }

    /// Runs the oldest queued work if the engine has no threads; returns whether there was any.
    #[cfg(feature = "raft-rs")]
    pub(crate) fn step_beside(&self) -> bool {
        self.0.task_pool.step()
    }

    /// Runs `work` on one of the engine's snapshot threads.
    pub(crate) fn run_snapshot(&self, work: impl FnOnce() + Send + 'static) {
        self.0.snapshots.submit(Box::new(work));
    }

    /// Number of snapshots that wait for a thread.
    pub(crate) fn snapshots_waiting(&self) -> usize {
        self.0.snapshots.waiting()
    }
}
