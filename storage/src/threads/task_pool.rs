//! A pool of threads for tasks that may block, independent of any async runtime.
//!
//! Threads are started when they are first needed, and end after the pool is dropped. Tasks are started in the order
//! in which they were submitted. They also run if the pool is dropped meanwhile or another task panics. If no thread
//! can be started, `submit` runs the task itself.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// A piece of work.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// Queued tasks, and the threads that run them.
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
    /// An empty pool of up to `threads_max` threads called `name`. With 0 threads, tasks wait for [`TaskPool::step`].
    pub(crate) fn new(name: &'static str, threads_max: usize) -> TaskPool {
        TaskPool { shared: Arc::default(), name, threads_max }
    }

    /// Runs a task on the pool; does not wait for it.
    pub(crate) fn submit(&self, task: Task) {
        let mut state = self.shared.state.lock();
        if state.idle <= state.list.len() && state.threads < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name(self.name.into());
            state.threads += usize::from(thread.spawn(move || shared.serve()).is_ok());
        }
        if state.threads == 0 && self.threads_max > 0 {
            drop(state);
            return task();
        }
        state.list.push_back(task);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Number of tasks that no thread has started.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state.lock().list.len()
    }

    /// Runs the oldest task on this thread if the pool has no threads; returns whether there was one.
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
    /// Runs tasks until the pool is dropped and the queue is empty.
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(errand) = state.list.pop_front() {
                drop(state);
                // A task may call a user's code; its panic must not affect other tasks.
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
