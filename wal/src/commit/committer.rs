//! The write side of one open log, shared by all of its threads: the state machine with its lock, and everything that
//! waits for it.
//!
//! No lock is held during I/O or while a callback runs. Every waiter is woken when its record is durable or the log has
//! stopped.

use crate::commit::delivery::Delivery;
use crate::commit::disk_op::DiskOp;
use crate::commit::shared_state::{SharedState, StateGuard};
use crate::commit::state::issue::Completed;
use crate::commit::state::{Appended, Blocked, CommitState};
use crate::commit::waiters::adaptive_yield::AdaptiveYield;
use crate::commit::waiters::futures::{AsyncWaiter, Callback, Notify, UserCode};
use crate::commit::waiters::wait_slot::{ALL, WaitSlot};
use crate::error::Error;
use crate::format::RecordBuilder;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64};
use crate::types::{Durability, Lsn};
use seawall_disk::clock::Clock;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

/// Number of wait slots. Groups share them by ordinal; there are enough that neighbouring groups never share one.
const WORDS: usize = 64;

/// The result of polling a ticket.
pub(super) enum PollOutcome {
    Ready(Result<Lsn, Error>),
    /// The waker was registered under this key.
    Pending(u64),
}

/// Which thread continues when an operation has ended.
enum HandOff {
    Nobody,
    /// The driver.
    Driver,
    /// One waiter of these groups; the first of them is the next to be written.
    Waiters(Range<u64>),
}

/// The write side of one open log: the [`CommitState`] with its lock, and the waiters.
#[derive(Debug)]
pub(crate) struct Committer {
    /// The state machine with its lock.
    pub(super) state: SharedState,
    /// Copy of the state's watermark, readable without the lock.
    pub(super) durable: AtomicU64,
    /// Copy of the number of the segment in use, readable without the lock.
    pub(super) active: Arc<AtomicU32>,
    /// How long waiting threads yield before they sleep.
    pub(super) adaptive_yield: Arc<AdaptiveYield>,
    /// The log's clock.
    pub(super) clock: Arc<dyn Clock>,
    /// The futex words on which waiting threads sleep; groups share them by ordinal.
    pub(super) wait_slots: [WaitSlot; WORDS],
    /// Whether the state has a failure.
    stopped: AtomicBool,
    /// Callbacks and wakers that are outstanding.
    pub(super) delivery: Arc<Delivery>,
}

/// Stops the log if it is dropped by a panic: the index builder is the caller's code, runs under the lock, and may
/// leave the state half changed. Declared before the lock is taken, so the lock is free when this is dropped.
struct StopOnPanic<'a> {
    log: &'a Committer,
    /// Whether the thread was already panicking when this was created.
    before: bool,
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.before {
            let location = self.log.lock_state().location();
            self.log.poison(Error::io("append to", location, "", std::io::Error::other("panic")));
        }
    }
}

impl Committer {
    pub(crate) fn new(state: CommitState) -> Committer {
        let durable = AtomicU64::new(state.watermark().as_u64());
        let (adaptive_yield, clock) = (Arc::<AdaptiveYield>::default(), Arc::clone(&state.clock));
        let (callbacks_max, spawned) = (state.limits.callbacks_max, state.limits.spawned);
        let delivery = Delivery::new(callbacks_max, spawned, Arc::clone(&adaptive_yield), clock);
        Committer {
            adaptive_yield,
            clock: Arc::clone(&state.clock),
            active: Arc::clone(&state.active),
            state: SharedState::new(state),
            durable,
            wait_slots: std::array::from_fn(|_| WaitSlot::default()),
            stopped: AtomicBool::new(false),
            delivery: Arc::new(delivery),
        }
    }

    /// Locks the state machine. Hold the lock for a short time and never during I/O.
    pub(crate) fn lock_state(&self) -> StateGuard<'_> {
        self.state.lock()
    }

    /// End of the durable prefix. Takes no lock.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn::from_u64(self.durable.load(Ordering::Acquire))
    }

    /// The segment that the next record goes to, or one before it: rotation may have entered a later one since.
    pub(crate) fn active_segment(&self) -> u32 {
        self.active.load(Ordering::Acquire)
    }

    /// The outcome of the record at `lsn`: durable, or failed with the log; `None` while it is still open.
    pub(super) fn outcome(&self, lsn: Lsn) -> Option<Result<Lsn, Error>> {
        if self.durable() > lsn {
            return Some(Ok(lsn));
        }
        if !self.stopped.load(Ordering::Acquire) {
            return None;
        }
        Self::decided(&self.lock_state(), lsn)
    }

    fn decided(state: &CommitState, lsn: Lsn) -> Option<Result<Lsn, Error>> {
        if state.watermark() > lsn { Some(Ok(lsn)) } else { state.failure().map(|f| Err(f.clone())) }
    }

    /// Enqueues one record; returns [`Blocked`] if it has to wait.
    pub(crate) fn append(
        &self,
        batch: &RecordBuilder,
        class: Durability,
        head_crc: u32,
    ) -> Result<Appended, Blocked> {
        let stop = StopOnPanic { log: self, before: std::thread::panicking() };
        let mut state = self.state.lock();
        let placed = state.append(batch, class, head_crc)?;
        state.continue_append();
        drop(state);
        drop(stop);
        Ok(placed)
    }

    /// Carries out one operation, reports its outcome to the state and notifies the waiters.
    pub(crate) fn run(&self, io: DiskOp) {
        let result = io.execute();
        self.complete(io, result);
    }

    /// Reports the outcome of an operation to the state and notifies the waiters.
    pub(crate) fn complete(&self, io: DiskOp, result: std::io::Result<()>) {
        let mut state = self.state.lock();
        let wake = state.complete(io, result);
        self.adaptive_yield.set_limit(state.yield_max_ns());
        let next = if state.claim_driver(true) {
            HandOff::Driver
        } else {
            state
                .next_requested()
                .map_or(HandOff::Nobody, |group| HandOff::Waiters(group..state.next_group()))
        };
        self.notify_waiters(state, wake, next);
    }

    /// Stops the log with the error `cause` and answers every waiter with it.
    pub(crate) fn poison(&self, cause: Error) {
        let mut state = self.state.lock();
        let wake = state.poison(cause);
        self.notify_waiters(state, wake, HandOff::Driver);
    }

    /// Publishes the new watermark, which completes the tickets of all records that begin below it; then releases the
    /// state lock and wakes or calls everything that waits.
    fn notify_waiters(&self, mut state: StateGuard<'_>, wake: Completed, next: HandOff) {
        let tasks = !state.waiters.is_empty();
        if let Some(end) = wake.watermark {
            self.durable.store(end.as_u64(), Ordering::Release);
        }
        let deliver = !wake.due.answers.is_empty();
        if deliver {
            // Under the state lock, so that answers are queued in log order.
            self.delivery.push(wake.due.answers);
        }
        let stopped =
            if wake.latched { state.failure().map(|f| (state.spare_pool(), f.clone())) } else { None };
        if stopped.is_some() {
            self.stopped.store(true, Ordering::Release);
            self.delivery.stop();
        }
        if matches!(next, HandOff::Driver) {
            state.wake_flusher();
        }
        drop(state);
        if let Some((spare_pool, failure)) = stopped {
            if !matches!(failure, Error::Closed | Error::ReadOnly) {
                spare_pool.notify_listener(|l| l.latched(&failure));
            }
            self.wait_slots.iter().for_each(|w| {
                w.wake(ALL);
            });
        }
        if let HandOff::Waiters(groups) = next
            && !self.wake_leader(groups)
            && tasks
        {
            self.state.flusher.wake();
        }
        for group in wake.durable {
            self.wait_slot(group).wake(ALL);
        }
        wake.due.notices.iter().for_each(Notify::deliver);
        if deliver {
            self.delivery.deliver();
        }
    }

    /// Wakes one waiter of the first of `groups` that has any. A waiter of a later group also writes the groups before
    /// it. Returns whether there was one.
    pub(super) fn wake_leader(&self, groups: Range<u64>) -> bool {
        groups.take(WORDS).any(|group| self.wait_slot(group).wake(1))
    }

    /// Registers `call`, which is called when `lsn` is durable, or at once if it is durable already or the log has
    /// stopped. Returns `call` if there is no thread to run it.
    pub(super) fn register(self: &Arc<Committer>, lsn: Lsn, call: Callback) -> Option<Callback> {
        if !self.delivery.reserve() {
            return Some(call);
        }
        let mut state = self.state.lock();
        match Self::decided(&state, lsn) {
            Some(result) => {
                // Queued after the answers that are due already, so that the order is kept.
                self.delivery.push([(UserCode::Call(call), result)]);
                drop(state);
                self.delivery.deliver();
            }
            None => {
                state.waiters.add(lsn, AsyncWaiter::User(UserCode::Call(call)));
                state.continue_async();
            }
        }
        None
    }

    /// Delivers `notify` when `lsn` is durable or the log has stopped; at once if that is so already.
    pub(super) fn notify(&self, lsn: Lsn, notify: Notify) {
        let mut state = self.state.lock();
        if Self::decided(&state, lsn).is_some() {
            drop(state);
            return notify.deliver();
        }
        state.waiters.add(lsn, AsyncWaiter::Notify(notify));
        state.continue_async();
    }

    /// The outcome of the record at `lsn`. While it is open, registers `waker`, which is called when the outcome is
    /// known.
    pub(super) fn poll(self: &Arc<Committer>, lsn: Lsn, group: u64, waker: &Waker) -> PollOutcome {
        if let Some(result) = self.outcome(lsn) {
            return PollOutcome::Ready(result);
        }
        // Inside a callback no other thread could call the waker, and without a thread nothing would call it. So this
        // blocks.
        if self.delivery.in_callback() || !self.delivery.reserve() {
            self.request_sync(group);
            return PollOutcome::Ready(self.wait(lsn, group, None).map(|()| lsn));
        }
        // Cloned before the lock is taken, since `clone` is code of the caller.
        let waker = waker.clone();
        let mut state = self.state.lock();
        if let Some(result) = Self::decided(&state, lsn) {
            drop(state);
            self.delivery.release();
            return PollOutcome::Ready(result);
        }
        let key = state.waiters.add(lsn, AsyncWaiter::User(UserCode::Task(waker)));
        state.continue_async();
        PollOutcome::Pending(key)
    }

    pub(super) fn forget(&self, lsn: Lsn, key: u64) {
        let waiter = self.state.lock().waiters.remove(lsn, key);
        // If it is gone, it was called or is about to be called.
        if waiter.is_some() {
            self.delivery.release();
        }
        // Dropped without the lock: a waker may own anything, such as another ticket.
        drop(waiter);
    }

    /// Whether [`Committer::callbacks_full`] may be true. Takes no lock.
    #[inline]
    pub(crate) fn callbacks_limited(&self) -> bool {
        self.delivery.closed()
    }

    /// Whether an append has to wait because too many callbacks and wakers are outstanding.
    pub(crate) fn callbacks_full(&self) -> Result<bool, Error> {
        self.delivery.full()
    }

    /// Number of callbacks and wakers that are outstanding.
    pub(crate) fn callback_count(&self) -> usize {
        self.delivery.count()
    }

    /// Ends the callback thread once it has made the remaining calls. Call it when the log has stopped and its last
    /// handle is dropped.
    pub(crate) fn end_delivery(&self) {
        self.delivery.end();
    }

    /// Declares the segments below `segment` dead. Wakes the flusher if it sleeps, so that a group records it.
    pub(crate) fn release(&self, segment: u32) {
        let mut state = self.state.lock();
        state.release(segment);
        state.continue_release();
    }

    pub(super) fn wait_slot(&self, group: u64) -> &WaitSlot {
        #[expect(clippy::cast_possible_truncation, reason = "reduced modulo the number of words")]
        let i = (group % WORDS as u64) as usize;
        &self.wait_slots[i]
    }
}
