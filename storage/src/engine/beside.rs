//! Work of users of the engine that must not be done on their own threads.
//! Place on the data's way: beside it. Invariants: it keeps no engine alive. Cannot fail; what it does may.

use std::sync::Arc;

use super::Engine;
use super::owner::Owner;

impl Engine {
    /// Has `work` done by the engine's thread for what nobody may wait for; not at all if the engine is gone before.
    pub(crate) fn run_beside(&self, work: impl FnOnce(&Engine) + Send + 'static) {
        // Weak: what lies in an engine must not keep it.
        let core = Arc::downgrade(self.0.core());
        self.0.errands.give(Box::new(move || {
            if let Some(core) = core.upgrade() {
                work(&Engine(Owner::of_the_engine(core)));
            }
        }));
    }

    /// Does the oldest of such work, if the engine has no threads; says whether there was some.
    pub(crate) fn step_beside(&self) -> bool {
        self.0.errands.step()
    }
}
