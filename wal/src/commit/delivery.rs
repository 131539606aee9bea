//! Calls callbacks and wakers, on a thread that does nothing else: code of the caller never runs on a thread
//! that writes or waits.
//!
//! The thread is started with the first callback or waker and ends when the log is gone and all of them were
//! called. A stepped log has no thread: whoever completes a write calls them. Invariants: one call at a time, in
//! the order in which the answers came; no lock is held during a call; the thread never holds the directory's
//! lock, and the log never waits for it. Appends by other threads wait while `answers_max` calls are registered
//! or under way.

use crate::commit::committer::Committer;
use crate::commit::waiters::futures::{Answer, UserCode};
use crate::error::Error;
use crate::sync::thread::{self, ThreadId};
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Whether there is a thread that calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum CallbackThread {
    #[default]
    None,
    Starting,
    Running,
}

/// Answers to be given, in order, and how many there may still be.
#[derive(Debug, Default)]
struct CallbackQueue {
    answers: VecDeque<Answer>,
    /// Callbacks and wakers that are registered, or due, or being called.
    count: usize,
    /// Registrations since the log was opened.
    registered: u64,
    /// Appends wait: there were too many, and are not few enough yet.
    closed: bool,
    /// The log has stopped: nobody waits for room.
    stopped: bool,
    /// The log is gone: the thread ends when all were called.
    ended: bool,
    server: CallbackThread,
    /// The thread that calls.
    caller: Option<ThreadId>,
}

/// The callbacks and wakers of one log.
#[derive(Debug)]
pub(super) struct Delivery {
    outbox: Mutex<CallbackQueue>,
    /// Signalled when there is something for the thread, or it has started.
    due: Condvar,
    /// Signalled when appends may go on, or should look.
    room: Condvar,
    /// Mirror of the outbox's, for appends.
    closed: AtomicBool,
    max: usize,
    /// Whether the log has threads.
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

    // ---- registering ----------------------------------------------------------------------------

    /// Counts one more callback or waker, which must be answered or given back. Says `false`, and counts
    /// nothing, if there is no thread and none can be had.
    pub(super) fn reserve(&self, log: &Arc<Committer>) -> bool {
        let mut outbox = self.outbox.lock();
        // First, so that a thread that is there does not end.
        outbox.count += 1;
        outbox.registered += 1;
        while self.spawned && outbox.server != CallbackThread::Running {
            if outbox.server == CallbackThread::Starting {
                self.due.wait(&mut outbox);
                continue;
            }
            outbox.server = CallbackThread::Starting;
            drop(outbox);
            let log = Arc::clone(log);
            let serve = move || log.delivery.serve();
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
            // Those that wait for room have this one's record written too.
            self.room.notify_all();
        }
        true
    }

    /// One that was counted will not be called.
    pub(super) fn release(&self) {
        self.give_back(&mut self.outbox.lock());
    }

    fn give_back(&self, outbox: &mut CallbackQueue) {
        outbox.count -= 1;
        // Not at the first free place, or every call would wake all that wait.
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

    // ---- calling --------------------------------------------------------------------------------

    /// Adds answers, behind those that are due. Call it under the core's lock, so that they stand in log order,
    /// and [`Delivery::deliver`] without.
    pub(super) fn push(&self, answers: impl IntoIterator<Item = Answer>) {
        self.outbox.lock().answers.extend(answers);
    }

    /// Has the answers given: by the thread, or here.
    pub(super) fn deliver(&self) {
        if self.spawned {
            self.due.notify_all();
            return;
        }
        let mut outbox = self.outbox.lock();
        // The call that is under way, on this thread or another, is followed by these.
        if outbox.caller.is_some() {
            return;
        }
        outbox.caller = Some(thread::current().id());
        while let Some(answer) = outbox.answers.pop_front() {
            outbox = self.call(outbox, answer);
        }
        outbox.caller = None;
    }

    /// The thread.
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
            // Dropping it runs code of the caller once more, which may panic again.
            std::mem::forget(panic);
        }
        let mut outbox = self.outbox.lock();
        self.give_back(&mut outbox);
        outbox
    }

    /// Whether this thread is in a callback or waker of the log.
    pub(super) fn in_callback(&self) -> bool {
        self.outbox.lock().caller == Some(thread::current().id())
    }

    // ---- the bound ------------------------------------------------------------------------------

    /// Whether appends have to wait, as far as can be seen without the lock.
    #[inline]
    pub(super) fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether an append has to wait for room. In a callback it never does.
    ///
    /// # Errors
    /// [`Error::AnswersFull`], in a callback.
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
            count => Err(Error::AnswersFull { count, max: self.max }),
        }
    }

    /// The number of registrations, if an append has to wait for room.
    pub(super) fn waits_for_room(&self) -> Option<u64> {
        let outbox = self.outbox.lock();
        (outbox.closed && !outbox.stopped).then_some(outbox.registered)
    }

    /// Sleeps until there is room, the log has stopped, or more than `registered` were registered.
    pub(super) fn wait_for_room(&self, registered: u64) {
        let mut outbox = self.outbox.lock();
        while outbox.closed && !outbox.stopped && outbox.registered == registered {
            self.room.wait(&mut outbox);
        }
    }

    // ---- the end --------------------------------------------------------------------------------

    /// The log has stopped: nobody waits for room any more.
    pub(super) fn stop(&self) {
        self.outbox.lock().stopped = true;
        self.room.notify_all();
    }

    /// The log is gone: the thread calls what is left, and ends.
    pub(super) fn end(&self) {
        self.outbox.lock().ended = true;
        self.due.notify_all();
    }

    /// Callbacks and wakers registered whose call has not ended.
    pub(super) fn count(&self) -> usize {
        self.outbox.lock().count
    }
}
