//! Calls the callbacks of one group one after the other, in the order of their appends.
//!
//! A callback is never called before an earlier one and never dropped: a turn that is dropped without an answer
//! answers with an error. An error is permanent; all later callbacks get it too (INV-7). A panic of a callback
//! is contained.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::adapters::openraft::error::{Error, Result};

/// The callback of an append: called once, on any thread.
pub(crate) type Callback = Box<dyn FnOnce(Result<()>) + Send>;

/// The callbacks of one group that are not called yet.
#[derive(Default)]
pub(in crate::adapters::openraft) struct CallbackQueue(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Number of the first callback in the queue; the others follow consecutively.
    first: u64,
    failure: Option<Error>,
    delivering: bool,
}

struct Waiting {
    callback: Callback,
    result: Option<Result<()>>,
}

/// The place of one append in the order. Dropped without an answer, it answers [`Error::Dropped`].
pub(in crate::adapters::openraft) struct Turn {
    turns: Option<Arc<CallbackQueue>>,
    number: u64,
}

impl CallbackQueue {
    /// Adds `callback` to the end of the queue.
    pub(in crate::adapters::openraft) fn next(self: &Arc<CallbackQueue>, callback: Callback) -> Turn {
        let mut queue = self.0.lock();
        queue.waiting.push_back(Waiting { callback, result: None });
        let number = queue.first + queue.waiting.len() as u64 - 1;
        Turn { turns: Some(Arc::clone(self)), number }
    }

    fn answer(&self, number: u64, result: Result<()>) {
        let mut queue = self.0.lock();
        let at = usize::try_from(number.saturating_sub(queue.first)).unwrap_or(usize::MAX);
        if let Some(waiting) = queue.waiting.get_mut(at) {
            waiting.result.get_or_insert(result);
        }
        if queue.delivering {
            return;
        }
        queue.delivering = true;
        while queue.waiting.front().is_some_and(|first| first.result.is_some()) {
            let Some(Waiting { callback, result }) = queue.waiting.pop_front() else { break };
            queue.first += 1;
            if let (None, Some(Err(error))) = (&queue.failure, &result) {
                queue.failure = Some(error.clone());
            }
            let result = queue.failure.clone().map_or(Ok(()), Err);
            drop(queue);
            // A panic of the caller's code must not keep the other callbacks from being called.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
            queue = self.0.lock();
        }
        queue.delivering = false;
    }
}

impl Turn {
    /// Calls the callback in its turn: now, or on the thread that answers the turn before it.
    pub(in crate::adapters::openraft) fn answer(mut self, result: Result<()>) {
        if let Some(turns) = self.turns.take() {
            turns.answer(self.number, result);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.answer(self.number, Err(Error::Dropped));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Arc<Mutex<Vec<(u32, bool)>>>;

    fn turn(turns: &Arc<CallbackQueue>, seen: &Seen, n: u32) -> Turn {
        let seen = Arc::clone(seen);
        turns.next(Box::new(move |result| seen.lock().push((n, result.is_ok()))))
    }

    #[test]
    fn answers_come_in_the_order_of_the_appends() {
        let (turns, seen) = (Arc::<CallbackQueue>::default(), Seen::default());
        let [a, b, c] = [1, 2, 3].map(|n| turn(&turns, &seen, n));
        c.answer(Ok(()));
        b.answer(Ok(()));
        assert_eq!(*seen.lock(), []);
        a.answer(Ok(()));
        assert_eq!(*seen.lock(), [(1, true), (2, true), (3, true)]);
        turn(&turns, &seen, 4).answer(Ok(()));
        assert_eq!(seen.lock().last(), Some(&(4, true)));
    }

    #[test]
    fn an_error_waits_for_its_turn_and_stays() {
        let (turns, seen) = (Arc::<CallbackQueue>::default(), Seen::default());
        let [a, b, c] = [1, 2, 3].map(|n| turn(&turns, &seen, n));
        b.answer(Err(Error::Dropped));
        assert_eq!(*seen.lock(), []);
        a.answer(Ok(()));
        c.answer(Ok(()));
        assert_eq!(*seen.lock(), [(1, true), (2, false), (3, false)]);
    }

    #[test]
    fn nobody_is_forgotten() {
        let (turns, seen) = (Arc::<CallbackQueue>::default(), Seen::default());
        let [a, b] = [1, 2].map(|n| turn(&turns, &seen, n));
        drop(b);
        drop(a);
        assert_eq!(*seen.lock(), [(1, false), (2, false)]);
    }

    #[test]
    fn a_callback_may_panic_or_take_a_turn() {
        let (turns, seen) = (Arc::<CallbackQueue>::default(), Seen::default());
        let bad = turns.next(Box::new(|_| panic!("a callback's own fault")));
        let (again, inner) = (Arc::clone(&turns), Arc::clone(&seen));
        let nested = turns.next(Box::new(move |_| turn(&again, &inner, 9).answer(Ok(()))));
        nested.answer(Ok(()));
        bad.answer(Ok(()));
        assert_eq!(*seen.lock(), [(9, true)]);
    }
}
