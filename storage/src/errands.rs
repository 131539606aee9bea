//! The engine's thread for work that a caller needs and must not wait for, such as reads for a peer that is far behind.
//! Place on the data's way: beside it, one for all groups. Invariants: started when it is first needed, ends with its
//! owner; work is done in the order in which it was given, and what is left when the owner goes is dropped undone.
//! Fails: a thread that cannot be had leaves the work to whoever gives it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use seawall_wal::Threads;

/// A piece of work.
pub(crate) type Errand = Box<dyn FnOnce() + Send>;

/// What is to be done, and the thread that does it.
pub(crate) struct Errands {
    shared: Arc<Shared>,
    threads: Threads,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    list: VecDeque<Errand>,
    started: bool,
    ended: bool,
}

impl Errands {
    /// None yet. With [`Threads::Stepped`] they lie until [`Errands::step`].
    pub(crate) fn new(threads: Threads) -> Errands {
        Errands { shared: Arc::default(), threads }
    }

    /// Has `errand` done; does not wait for it.
    pub(crate) fn give(&self, errand: Errand) {
        let mut state = self.shared.state.lock();
        if self.threads == Threads::Spawned && !state.started {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("seawall-errands".into());
            state.started = thread.spawn(move || shared.serve()).is_ok();
            if !state.started {
                drop(state);
                return errand();
            }
        }
        state.list.push_back(errand);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Does the oldest errand here if no thread does them; says whether there was one.
    pub(crate) fn step(&self) -> bool {
        if self.threads == Threads::Spawned {
            return false;
        }
        let errand = self.shared.state.lock().list.pop_front();
        errand.map(|errand| errand()).is_some()
    }
}

impl Drop for Errands {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.ended = true;
        let left = std::mem::take(&mut state.list);
        drop(state);
        self.shared.changed.notify_one();
        // Outside of the lock: what an errand holds may give others.
        drop(left);
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state.lock();
        while !state.ended {
            if let Some(errand) = state.list.pop_front() {
                drop(state);
                // It may call what a user brought, whose panic is not the others'.
                let _ = catch_unwind(AssertUnwindSafe(errand));
                state = self.state.lock();
            } else {
                self.changed.wait(&mut state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn one_thread_does_them_in_order_and_survives_a_panic() {
        let errands = Errands::new(Threads::Spawned);
        let (sender, receiver) = channel();
        for n in 0..100 {
            let sender = sender.clone();
            errands.give(Box::new(move || {
                let _ = sender.send((n, std::thread::current().id()));
                assert!(n % 10 != 3, "a panic on purpose");
            }));
        }
        let done: Vec<_> = (0..100).map(|_| receiver.recv().unwrap()).collect();
        assert!(done.iter().zip(0..).all(|((n, thread), expected)| *n == expected && *thread == done[0].1));
        assert_ne!(done[0].1, std::thread::current().id());
        assert!(!errands.step(), "the thread does them");
    }

    #[test]
    fn without_threads_they_lie_until_somebody_steps() {
        let errands = Errands::new(Threads::Stepped);
        let (sender, receiver) = channel();
        for n in 0..3 {
            let sender = sender.clone();
            errands.give(Box::new(move || sender.send(n).unwrap()));
        }
        assert!(receiver.try_recv().is_err());
        assert!(errands.step() && errands.step());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1]);
        drop((errands, sender));
        assert!(receiver.recv().is_err(), "what is left is dropped undone");
    }
}
