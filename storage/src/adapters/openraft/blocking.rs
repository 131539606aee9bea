//! Runs work that may block on threads of the log stores, so that no worker thread of an async runtime blocks.
//!
//! Submitted work always completes or is answered with an error, even if a thread panics or the answer is no
//! longer awaited. If no thread can be started, the caller does the work.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::adapters::openraft::error::{Error, Result};
use crate::threads::task_pool::{Task, TaskPool};

/// A pool of threads for work that may block. Each piece of work has an answer to await.
pub(super) struct BlockingPool(TaskPool);

impl BlockingPool {
    /// Makes a pool of up to `threads_max` threads. With 0 the caller does all work.
    pub(super) fn new(threads_max: usize) -> BlockingPool {
        BlockingPool(TaskPool::new("seawall-openraft", threads_max))
    }

    /// Runs `work` on one of the threads.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (errand, answer) = errand(work);
        self.give(errand);
        answer
    }

    /// Runs the task `errand` on one of the threads. Tasks may run concurrently.
    pub(super) fn give(&self, errand: Task) {
        self.0.submit(errand);
        while self.0.step() {}
    }
}

/// Makes a task of `work`, and its answer.
pub(super) fn errand<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> (Task, Answer<T>) {
    let slot = Arc::new(Mutex::new(Slot { result: None, waker: None }));
    let promise = Promise(Some(Arc::clone(&slot)));
    (Box::new(move || promise.keep(work())), Answer(slot))
}

struct Slot<T> {
    result: Option<Result<T>>,
    waker: Option<Waker>,
}

/// The obligation to answer. Dropping it answers [`Error::Dropped`].
struct Promise<T>(Option<Arc<Mutex<Slot<T>>>>);

impl<T> Promise<T> {
    fn keep(mut self, result: Result<T>) {
        self.settle(result);
    }

    fn settle(&mut self, result: Result<T>) {
        let Some(slot) = self.0.take() else { return };
        let mut slot = slot.lock();
        slot.result = Some(result);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(Err(Error::Dropped));
    }
}

/// The result of submitted work. Dropping it does not cancel the work.
pub(super) struct Answer<T>(Arc<Mutex<Slot<T>>>);

impl<T> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let mut slot = self.0.lock();
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(mut answer: Answer<T>) -> Result<T> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            match Pin::new(&mut answer).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    #[test]
    fn work_is_done_elsewhere_or_here_if_there_are_no_threads() {
        let here = std::thread::current().id();
        for (threads, elsewhere) in [(0, false), (1, true), (3, true)] {
            let hands = BlockingPool::new(threads);
            let answer = hands.run(move || Ok(std::thread::current().id() != here));
            assert_eq!(wait(answer).unwrap(), elsewhere);
        }
    }

    #[test]
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        let hands = BlockingPool::new(1);
        assert!(matches!(wait(hands.run::<()>(|| panic!("in the work"))), Err(Error::Dropped)));
        assert_eq!(wait(hands.run(|| Ok(7))).unwrap(), 7);
    }

    #[test]
    fn what_nobody_awaits_is_done_all_the_same() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let hands = BlockingPool::new(1);
        for n in 0..3 {
            let sender = sender.clone();
            drop(hands.run(move || {
                sender.send(n).unwrap();
                Ok(())
            }));
        }
        drop(hands);
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
