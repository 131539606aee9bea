//! The snapshot of one group that is to be taken in the background.
//!
//! The work lies here and not in the queue of the engine's threads: who drops the group's handle takes it back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::{Condvar, Mutex};

/// What is to be done.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// At most one piece of work, which somebody else does.
#[derive(Default)]
pub(super) struct Job {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    Waits(Work),
    Runs,
}

impl Job {
    /// Has `work` done by whoever calls [`Job::run`] next. There must be none.
    pub(super) fn put(&self, work: Work) {
        *self.state.lock() = State::Waits(work);
    }

    /// Does the work, if it is still wanted.
    pub(super) fn run(&self) {
        let mut state = self.state.lock();
        let State::Waits(work) = std::mem::replace(&mut *state, State::Runs) else {
            *state = State::None;
            return;
        };
        drop(state);
        // Those who wait must not wait for ever.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            std::mem::forget(panic);
        }
        *self.state.lock() = State::None;
        self.changed.notify_all();
    }

    /// Waits until there is no work.
    pub(super) fn wait(&self) {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| !matches!(state, State::None));
    }

    /// Takes back what was not begun, and waits for what was.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Waits(_)) {
            let work = std::mem::take(&mut *state);
            drop(state);
            drop(work);
            return;
        }
        self.changed.wait_while(&mut state, |state| !matches!(state, State::None));
    }
}
