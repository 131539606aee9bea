//! Work of users of the engine that must not be done on their own threads.
//! Place on the data's way: beside it. Invariants: it keeps no engine alive. Cannot fail; what it does may.

#[cfg(feature = "raft-rs")]
use std::sync::Arc;

use super::Engine;
#[cfg(feature = "raft-rs")]
use crate::engine::handles::UserHandle;

impl Engine {
    /// Has `work` done by the engine's thread for what nobody may wait for; not at all if the engine is gone before.
    #[cfg(feature = "raft-rs")]
    pub(crate) fn run_beside(&self, work: impl FnOnce(&Engine) + Send + 'static) {
        // Weak: what lies in an engine must not keep it.
        let core = Arc::downgrade(self.0.core());
        self.0.errands.submit(Box::new(move || {
            if let Some(core) = core.upgrade() {
                work(&Engine(UserHandle::of_the_engine(core)));
            }
        }));
    }

    /// Does the oldest of such work, if the engine has no threads; says whether there was some.
    #[cfg(feature = "raft-rs")]
    pub(crate) fn step_beside(&self) -> bool {
        self.0.errands.step()
    }

    /// Has `work` done by one of the engine's threads for snapshots.
    pub(crate) fn run_snapshot(&self, work: impl FnOnce() + Send + 'static) {
        self.0.snapshots.submit(Box::new(work));
    }

    /// Snapshots that wait for a thread.
    pub(crate) fn snapshots_waiting(&self) -> usize {
        self.0.snapshots.waiting()
    }
}
