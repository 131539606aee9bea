//! Threads for work that a caller needs and must not wait for: reads for a peer that is far behind, what may block beside
//! an async runtime. Of no runtime in particular.
//! Place on the data's way: beside it. Invariants: threads are started when they are first needed, and end with their owner;
//! work is begun in the order in which it was given, and done also when the owner goes or other work panics.
//! Fails: a thread that cannot be had leaves the work to whoever gives it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// A piece of work.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// What is to be done, and the threads that do it.
pub(crate) struct TaskPool {
    shared: Arc<Shared>,
    name: &'static str,
    threads_max: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    list: VecDeque<Task>,
    threads: usize,
    idle: usize,
    ended: bool,
}

impl TaskPool {
    /// None yet, for up to `threads_max` threads called `name`. With 0 they lie until [`Errands::step`].
    pub(crate) fn new(name: &'static str, threads_max: usize) -> TaskPool {
        TaskPool { shared: Arc::default(), name, threads_max }
    }

    /// Has `errand` done; does not wait for it.
    pub(crate) fn submit(&self, errand: Task) {
        let mut state = self.shared.state.lock();
        if state.idle <= state.list.len() && state.threads < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name(self.name.into());
            state.threads += usize::from(thread.spawn(move || shared.serve()).is_ok());
        }
        if state.threads == 0 && self.threads_max > 0 {
            drop(state);
            return errand();
        }
        state.list.push_back(errand);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Errands that no thread has begun.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state.lock().list.len()
    }

    /// Does the oldest errand here if no threads do them; says whether there was one.
    pub(crate) fn step(&self) -> bool {
        if self.threads_max > 0 {
            return false;
        }
        let errand = self.shared.state.lock().list.pop_front();
        errand.map(|errand| errand()).is_some()
    }
}

impl Drop for TaskPool {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// What is left when the owner goes is still done.
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(errand) = state.list.pop_front() {
                drop(state);
                // It may call what a user brought, whose panic is not the others'.
                let _ = catch_unwind(AssertUnwindSafe(errand));
                state = self.state.lock();
            } else if state.ended {
                return;
            } else {
                state.idle += 1;
                self.changed.wait(&mut state);
                state.idle -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::mpsc::channel;

    #[test]
    fn one_thread_does_them_in_order_and_survives_a_panic() {
        let errands = TaskPool::new("one", 1);
        let (sender, receiver) = channel();
        for n in 0..100 {
            let sender = sender.clone();
            errands.submit(Box::new(move || {
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
    fn as_many_at_a_time_as_there_are_threads() {
        let (errands, barrier) = (TaskPool::new("three", 3), Arc::new(Barrier::new(3)));
        let (sender, receiver) = channel();
        for _ in 0..3 {
            let (barrier, sender) = (Arc::clone(&barrier), sender.clone());
            errands.submit(Box::new(move || sender.send(barrier.wait().is_leader()).unwrap()));
        }
        drop(sender);
        assert_eq!(receiver.iter().filter(|leads| *leads).count(), 1);
    }

    #[test]
    fn what_is_left_when_the_owner_goes_is_done() {
        let errands = TaskPool::new("one", 1);
        let (sender, receiver) = channel();
        for n in 0..3 {
            let sender = sender.clone();
            errands.submit(Box::new(move || sender.send(n).unwrap()));
        }
        drop((errands, sender));
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn without_threads_they_lie_until_somebody_steps() {
        let errands = TaskPool::new("none", 0);
        let (sender, receiver) = channel();
        for n in 0..3 {
            let sender = sender.clone();
            errands.submit(Box::new(move || sender.send(n).unwrap()));
        }
        assert!(receiver.try_recv().is_err());
        assert!(errands.step() && errands.step());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1]);
        drop((errands, sender));
        assert!(receiver.recv().is_err(), "nobody is there to do the rest");
    }
}
