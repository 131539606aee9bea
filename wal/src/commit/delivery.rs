//! Runs callbacks and wakers on a thread of their own, so that code of the caller never runs on a thread that writes or
//! waits.
//!
//! The thread is started with the first callback or waker, and ends when the log is gone and all of them have been
//! called. A stepped log has no thread: the thread that completes a write makes the calls. One call runs at a time, in
//! the order in which the answers were queued; no lock is held during a call. The thread never holds the directory's
//! lock, and the log never waits for the thread. Appends by other threads wait while the maximum number of callbacks
//! and wakers ([`Options::callbacks_max`](crate::Options::callbacks_max)) is outstanding: registered, due or running.

use crate::commit::waiters::adaptive_yield::AdaptiveYield;
use crate::commit::waiters::futures::{Answer, UserCode};
use crate::error::Error;
use crate::sync::thread::{self, ThreadId};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard};
use seawall_disk::clock::Clock;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

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
    /// Callbacks and wakers that are registered, due or running.
    count: AtomicU64,
    /// Registrations since the log was opened.
    registered: AtomicU64,
    /// Whether the thread runs, so that a registration need not take the lock.
    running: AtomicBool,
    /// Whether appends wait: set when the maximum is reached, cleared once an eighth of the calls have ended. Changed
    /// under the lock only.
    closed: AtomicBool,
    /// Whether answers are due, so that the thread sees them without the lock.
    pending: AtomicBool,
    /// How long the thread yields before it sleeps.
    adaptive_yield: Arc<AdaptiveYield>,
    clock: Arc<dyn Clock>,
    /// Copy of the queue's `ended`.
    ended: AtomicBool,
    max: u64,
    /// Whether the log has threads of its own.
    spawned: bool,
}

impl Delivery {
    pub(super) fn new(
        max: u32,
        spawned: bool,
        adaptive_yield: Arc<AdaptiveYield>,
        clock: Arc<dyn Clock>,
    ) -> Delivery {
        Delivery {
            outbox: Mutex::default(),
            due: Condvar::default(),
            room: Condvar::default(),
            count: AtomicU64::new(0),
            registered: AtomicU64::new(0),
            running: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            pending: AtomicBool::new(false),
            adaptive_yield,
            clock,
            ended: AtomicBool::new(false),
            max: u64::from(max),
            spawned,
        }
    }

    // ---- register -------------------------------------------------------------------------------

    /// Counts one more callback or waker, which must later be answered or released. Returns `false`, and counts
    /// nothing, if there is no thread and none can be started.
    pub(super) fn reserve(self: &Arc<Self>) -> bool {
        // Counted first, so that a thread that exists does not end.
        let count = self.count.fetch_add(1, SeqCst) + 1;
        self.registered.fetch_add(1, SeqCst);
        if self.spawned && !self.running.load(SeqCst) && !self.start() {
            self.release();
            return false;
        }
        if count >= self.max || self.closed() {
            let _outbox = self.outbox.lock();
            // Checked again under the lock: calls that have ended meanwhile found that no append waits.
            if self.count.load(SeqCst) >= self.max {
                self.closed.store(true, SeqCst);
            }
            self.reopen();
            // Appends that wait for room must flush this record too, or this callback may never be due.
            self.room.notify_all();
        }
        true
    }

    /// Starts the callback thread, or waits until another thread has. Returns `false` if it cannot be started.
    fn start(self: &Arc<Self>) -> bool {
        let mut outbox = self.outbox.lock();
        while outbox.server != CallbackThread::Running {
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
            self.running.store(started, SeqCst);
            self.due.notify_all();
            if !started {
                return false;
            }
        }
        true
    }

    /// Uncounts a callback or waker that has been called or will not be called.
    pub(super) fn release(&self) {
        let count = self.count.fetch_sub(1, SeqCst) - 1;
        if self.closed() || count == 0 && self.ended.load(SeqCst) {
            let _outbox = self.outbox.lock();
            self.reopen();
            self.due.notify_all();
        }
    }

    /// Lets appends continue if few enough calls are outstanding. Call it with the lock held.
    fn reopen(&self) {
        // Not at the first free place: otherwise every call would wake all waiting appends.
        let few = self.max - (self.max / 8).max(1);
        if self.closed() && self.count.load(SeqCst) <= few {
            self.closed.store(false, SeqCst);
            self.room.notify_all();
        }
    }

    // ---- call -----------------------------------------------------------------------------------

    /// Queues answers after those that are due already. Call it under the state lock, so that they are queued in log
    /// order; then call [`Delivery::deliver`] without the lock.
    pub(super) fn push(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut outbox = self.outbox.lock();
        outbox.answers.extend(answers);
        self.pending.store(true, SeqCst);
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
        while !outbox.answers.is_empty() {
            outbox = self.call_all(outbox);
        }
        outbox.caller = None;
    }

    /// The loop of the callback thread.
    fn serve(&self) {
        let mut outbox = self.outbox.lock();
        outbox.caller = Some(thread::current().id());
        loop {
            if !outbox.answers.is_empty() {
                outbox = self.call_all(outbox);
            } else if outbox.ended && self.may_end() {
                outbox.server = CallbackThread::None;
                outbox.caller = None;
                return;
            } else {
                drop(outbox);
                let due = self.adaptive_yield.wait(&*self.clock, || self.pending.load(SeqCst));
                outbox = self.outbox.lock();
                if !due && outbox.answers.is_empty() && !(outbox.ended && self.count.load(SeqCst) == 0) {
                    self.due.wait(&mut outbox);
                }
            }
        }
    }

    /// Whether the thread may end, because nothing is registered. A registration that comes later starts a new thread.
    fn may_end(&self) -> bool {
        // Before the count is read: a registration counts itself before it looks whether the thread runs.
        self.running.store(false, SeqCst);
        let none = self.count.load(SeqCst) == 0;
        self.running.store(!none, SeqCst);
        none
    }

    /// Makes the calls that are due now, in order, without the lock.
    fn call_all<'a>(&'a self, mut outbox: MutexGuard<'a, CallbackQueue>) -> MutexGuard<'a, CallbackQueue> {
        let answers = std::mem::take(&mut outbox.answers);
        self.pending.store(false, SeqCst);
        drop(outbox);
        for (user, result) in answers {
            let called = catch_unwind(AssertUnwindSafe(|| match user {
                UserCode::Task(waker) => waker.wake(),
                UserCode::Call(call) => call(result),
            }));
            if let Err(panic) = called {
                // Dropping the panic's payload would run code of the caller again, which may panic again.
                std::mem::forget(panic);
            }
            self.release();
        }
        self.outbox.lock()
    }

    /// Whether this thread is inside a callback or waker of the log.
    pub(super) fn in_callback(&self) -> bool {
        self.outbox.lock().caller == Some(thread::current().id())
    }

    // ---- the bound ------------------------------------------------------------------------------

    /// Whether appends have to wait. Takes no lock, so the answer may be out of date.
    #[inline]
    pub(super) fn closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Whether an append has to wait until fewer callbacks are outstanding. Always `false` inside a callback.
    ///
    /// # Errors
    /// [`Error::CallbacksFull`] inside a callback, if twice the maximum is outstanding.
    pub(super) fn full(&self) -> Result<bool, Error> {
        let outbox = self.outbox.lock();
        if !self.closed() || outbox.stopped {
            return Ok(false);
        }
        if outbox.caller != Some(thread::current().id()) {
            return Ok(true);
        }
        match self.count.load(SeqCst) {
            count if count < self.max.saturating_mul(2) => Ok(false),
            _ => Err(Error::CallbacksFull { count: self.count(), max: as_usize(self.max) }),
        }
    }

    /// Number of registrations so far, if an append has to wait; otherwise `None`.
    pub(super) fn waits_for_room(&self) -> Option<u64> {
        let outbox = self.outbox.lock();
        (self.closed() && !outbox.stopped).then(|| self.registered.load(SeqCst))
    }

    /// Sleeps until appends may continue, the log has stopped, or more than `registered` callbacks have been
    /// registered.
    pub(super) fn wait_for_room(&self, registered: u64) {
        let mut outbox = self.outbox.lock();
        while self.closed() && !outbox.stopped && self.registered.load(SeqCst) == registered {
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
        let mut outbox = self.outbox.lock();
        outbox.ended = true;
        self.ended.store(true, SeqCst);
        drop(outbox);
        self.due.notify_all();
    }

    /// Number of callbacks and wakers that are outstanding.
    pub(super) fn count(&self) -> usize {
        as_usize(self.count.load(SeqCst))
    }
}

fn as_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
