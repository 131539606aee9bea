//! The background snapshot of one group.
//!
//! The work is stored here, not in the queue of the engine's threads, so that dropping the group's handle can
//! take it back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::{Condvar, Mutex};

/// The closure that takes a snapshot.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// At most one piece of work, which another thread runs.
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
    /// Stores `work` for the next call of [`Job::run`]. There must be no other work.
    pub(super) fn put(&self, work: Work) {
        *self.state.lock() = State::Waits(work);
    }

    /// Runs the work, if there still is any.
    pub(super) fn run(&self) {
        let mut state = self.state.lock();
        let State::Waits(work) = std::mem::replace(&mut *state, State::Runs) else {
            *state = State::None;
            return;
        };
        drop(state);
        // A panic must not leave waiters blocked for ever.
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

    /// Drops work that has not started, and waits for work that is running.
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
