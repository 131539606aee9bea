//! Runs callbacks and wakers on a thread of their own, so that code of the caller never runs on a thread that writes or
//! waits.
//!
//! The thread is started with the first callback or waker, and ends when the log is gone and all of them have been
//! called. A stepped log has no thread: the thread that completes a write makes the calls. One call runs at a time, in
//! the order in which the answers were queued; no lock is held during a call. The thread never holds the directory's
//! lock, and the log never waits for the thread. Appends by other threads wait while the maximum number of callbacks
//! and wakers ([`Options::callbacks_max`](crate::Options::callbacks_max)) is outstanding: registered, due or running.

use crate::commit::waiters::futures::{Answer, UserCode};
use crate::error::Error;
use crate::sync::thread::{self, ThreadId};
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// State of the thread that runs callbacks and wakers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum CallbackThread {
    #[default]
    None,
    Starting,
    Running,
}

/// The answers that are due, in order, and the counts that bound them.
#[derive(Debug, Default)]
struct CallbackQueue {
    answers: VecDeque<Answer>,
    /// Callbacks and wakers that are registered, due or running.
    count: usize,
    /// Registrations since the log was opened.
    registered: u64,
    /// Whether appends wait: set when the maximum is reached, cleared once an eighth of the calls have ended.
    closed: bool,
    /// Whether the log has stopped; then no append waits.
    stopped: bool,
    /// Whether the log is gone; then the thread ends after the last call.
    ended: bool,
    server: CallbackThread,
    /// The thread that runs callbacks at the moment.
    caller: Option<ThreadId>,
}

/// The outstanding callbacks and wakers of one log.
#[derive(Debug)]
pub(super) struct Delivery {
    outbox: Mutex<CallbackQueue>,
    /// Signalled when an answer is due, the thread has started, or the log is gone.
    due: Condvar,
    /// Signalled when appends may continue, or should check again.
    room: Condvar,
    /// Copy of the queue's `closed`, readable without the lock.
    closed: AtomicBool,
    max: usize,
    /// Whether the log has threads of its own.
    spawned: bool,
}

impl Delivery {
    pub(super) fn new(max: u32, spawned: bool) -> Delivery {
        Delivery {
            outbox: Mutex::default(),
            due: Condvar::default(),
            room: Condvar::default(),
            closed: AtomicBool::new(false),
            max: max as usize,
            spawned,
        }
    }

    // ---- register -------------------------------------------------------------------------------

    /// Counts one more callback or waker, which must later be answered or released. Returns `false`, and counts
    /// nothing, if there is no thread and none can be started.
    pub(super) fn reserve(self: &Arc<Self>) -> bool {
        let mut outbox = self.outbox.lock();
        // Counted first, so that a thread that exists does not end.
        outbox.count += 1;
        outbox.registered += 1;
        while self.spawned && outbox.server != CallbackThread::Running {
            if outbox.server == CallbackThread::Starting {
                self.due.wait(&mut outbox);
                continue;
            }
            outbox.server = CallbackThread::Starting;
            drop(outbox);
            let delivery = Arc::clone(self);
            let serve = move || delivery.serve();
            let started = thread::Builder::new().name("seawall-deliver".into()).spawn(serve).is_ok();
            outbox = self.outbox.lock();
            outbox.server = if started { CallbackThread::Running } else { CallbackThread::None };
            self.due.notify_all();
            if !started {
                self.give_back(&mut outbox);
                return false;
            }
        }
        if outbox.count >= self.max {
            outbox.closed = true;
            self.closed.store(true, Ordering::Relaxed);
        }
        if outbox.closed {
            // Appends that wait for room must flush this record too, or this callback may never be due.
            self.room.notify_all();
        }
        true
    }

    /// Uncounts a callback or waker that will not be called.
    pub(super) fn release(&self) {
        self.give_back(&mut self.outbox.lock());
    }

    fn give_back(&self, outbox: &mut CallbackQueue) {
        outbox.count -= 1;
        // Not at the first free place: otherwise every call would wake all waiting appends.
        let few = self.max - (self.max / 8).max(1);
        if outbox.closed && outbox.count <= few {
            outbox.closed = false;
            self.closed.store(false, Ordering::Relaxed);
            self.room.notify_all();
        }
        if outbox.ended && outbox.count == 0 {
            self.due.notify_all();
        }
    }

    // ---- call -----------------------------------------------------------------------------------

    /// Queues answers after those that are due already. Call it under the state lock, so that they are queued in log
    /// order; then call [`Delivery::deliver`] without the lock.
    pub(super) fn push(&self, answers: impl IntoIterator<Item = Answer>) {
        self.outbox.lock().answers.extend(answers);
    }

    /// Gets the queued answers delivered: by the callback thread if the log has threads, otherwise by this thread.
    pub(super) fn deliver(&self) {
        if self.spawned {
            self.due.notify_all();
            return;
        }
        let mut outbox = self.outbox.lock();
        // The call that is running, on this thread or another, delivers these answers afterwards.
        if outbox.caller.is_some() {
            return;
        }
        outbox.caller = Some(thread::current().id());
        while let Some(answer) = outbox.answers.pop_front() {
            outbox = self.call(outbox, answer);
        }
        outbox.caller = None;
    }

    /// The loop of the callback thread.
    fn serve(&self) {
        let mut outbox = self.outbox.lock();
        outbox.caller = Some(thread::current().id());
        loop {
            if let Some(answer) = outbox.answers.pop_front() {
                outbox = self.call(outbox, answer);
            } else if outbox.ended && outbox.count == 0 {
                outbox.server = CallbackThread::None;
                outbox.caller = None;
                return;
            } else {
                self.due.wait(&mut outbox);
            }
        }
    }

    fn call<'a>(
        &'a self,
        outbox: MutexGuard<'a, CallbackQueue>,
        (user, result): Answer,
    ) -> MutexGuard<'a, CallbackQueue> {
        drop(outbox);
        let called = catch_unwind(AssertUnwindSafe(|| match user {
            UserCode::Task(waker) => waker.wake(),
            UserCode::Call(call) => call(result),
        }));
        if let Err(panic) = called {
            // Dropping the panic's payload would run code of the caller again, which may panic again.
            std::mem::forget(panic);
        }
        let mut outbox = self.outbox.lock();
        self.give_back(&mut outbox);
        outbox
    }

    /// Whether this thread is inside a callback or waker of the log.
    pub(super) fn in_callback(&self) -> bool {
        self.outbox.lock().caller == Some(thread::current().id())
    }

    // ---- the bound ------------------------------------------------------------------------------

    /// Whether appends have to wait. Takes no lock, so the answer may be out of date.
    #[inline]
    pub(super) fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether an append has to wait until fewer callbacks are outstanding. Always `false` inside a callback.
    ///
    /// # Errors
    /// [`Error::CallbacksFull`] inside a callback, if twice the maximum is outstanding.
    pub(super) fn full(&self) -> Result<bool, Error> {
        let outbox = self.outbox.lock();
        if !outbox.closed || outbox.stopped {
            return Ok(false);
        }
        if outbox.caller != Some(thread::current().id()) {
            return Ok(true);
        }
        match outbox.count {
            count if count < self.max.saturating_mul(2) => Ok(false),
            count => Err(Error::CallbacksFull { count, max: self.max }),
        }
    }

    /// Number of registrations so far, if an append has to wait; otherwise `None`.
    pub(super) fn waits_for_room(&self) -> Option<u64> {
        let outbox = self.outbox.lock();
        (outbox.closed && !outbox.stopped).then_some(outbox.registered)
    }

    /// Sleeps until appends may continue, the log has stopped, or more than `registered` callbacks have been
    /// registered.
    pub(super) fn wait_for_room(&self, registered: u64) {
        let mut outbox = self.outbox.lock();
        while outbox.closed && !outbox.stopped && outbox.registered == registered {
            self.room.wait(&mut outbox);
        }
    }

    // ---- the end --------------------------------------------------------------------------------

    /// The log has stopped: wakes all appends that wait.
    pub(super) fn stop(&self) {
        self.outbox.lock().stopped = true;
        self.room.notify_all();
    }

    /// The log is gone: the thread makes the remaining calls and ends.
    pub(super) fn end(&self) {
        self.outbox.lock().ended = true;
        self.due.notify_all();
    }

    /// Number of callbacks and wakers that are outstanding.
    pub(super) fn count(&self) -> usize {
        self.outbox.lock().count
    }
}
