//! The log as its users share it: the state machine behind its lock, and whoever waits for it.
//!
//! Place on the data's way: between the `Wal` and the core. Invariants: no lock is held during I/O or callbacks; who
//! waits is woken when what it waits for is durable, or the log has failed.

use super::delivery::Delivery;
use crate::commit::disk_op::DiskOp;
use crate::commit::state::issue::Completed;
use crate::commit::state::{Appended, Blocked, CommitState};
use crate::commit::waiters::adaptive_yield::AdaptiveYield;
use crate::commit::waiters::futures::{AsyncWaiter, Callback, Notify, UserCode};
use crate::commit::waiters::wait_slot::{ALL, WaitSlot};
use crate::disk::{Clock, RingWaker};
use crate::error::Error;
use crate::format::RecordBuilder;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard};
use crate::types::{Durability, Lsn};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// Futex words that groups share by ordinal: enough that waiters of neighbouring groups never do.
const WORDS: usize = 64;

/// What a poll comes to.
pub(super) enum PollOutcome {
    Ready(Result<Lsn, Error>),
    /// The waker was left; this names it.
    Pending(u64),
}

/// Who goes on when an operation has ended.
enum HandOff {
    Nobody,
    /// The driver.
    Driver,
    /// A waiter of one of these groups, the first of which is to be written.
    Waiters(Range<u64>),
}

/// One open log's write side, shared by all of its threads.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(super) core: Mutex<CommitState>,
    /// Mirrors of the core's watermark, and of the number of its segment.
    pub(super) durable: AtomicU64,
    pub(super) active: Arc<AtomicU32>,
    /// Whether an operation could be issued when the core's lock was last released by someone who changed
    /// that: spares waiters the lock when there is nothing for them to lead.
    pub(super) work_available: AtomicBool,
    pub(super) adaptive_yield: AdaptiveYield,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) wait_slots: [WaitSlot; WORDS],
    pub(super) flusher: WaitSlot,
    /// The flusher waits in its ring, where its word does not reach it.
    pub(super) in_ring: AtomicBool,
    pub(super) ring_waker: OnceLock<Arc<dyn RingWaker>>,
    /// The core has a failure.
    stopped: AtomicBool,
    pub(super) delivery: Delivery,
}

/// Stops the log if it is dropped by a panic: the sealer is a caller's code that runs under the lock, and
/// may leave the state machine half way. Declared before the lock is taken, so that it is free again.
struct StopOnPanic<'a> {
    log: &'a Committer,
    /// The thread was unwinding when it came.
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
    pub(crate) fn new(core: CommitState) -> Committer {
        let durable = AtomicU64::new(core.watermark().as_u64());
        let delivery = Delivery::new(core.limits.answers_max, core.limits.spawned);
        Committer {
            adaptive_yield: AdaptiveYield::default(),
            clock: Arc::clone(&core.clock),
            active: Arc::clone(&core.active),
            core: Mutex::new(core),
            durable,
            work_available: AtomicBool::new(false),
            wait_slots: std::array::from_fn(|_| WaitSlot::default()),
            flusher: WaitSlot::default(),
            in_ring: AtomicBool::new(false),
            ring_waker: OnceLock::new(),
            stopped: AtomicBool::new(false),
            delivery,
        }
    }

    /// The state machine. Held for short: never across I/O.
    pub(crate) fn lock_state(&self) -> MutexGuard<'_, CommitState> {
        self.core.lock()
    }

    /// End of the durable prefix.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn::from_u64(self.durable.load(Ordering::Acquire))
    }

    /// The segment that the next record goes to, at the earliest: it may have gone on since.
    pub(crate) fn active_segment(&self) -> u32 {
        self.active.load(Ordering::Acquire)
    }

    /// What became of the record at `lsn`; `None` while that is open.
    pub(super) fn outcome(&self, lsn: Lsn) -> Option<Result<Lsn, Error>> {
        if self.durable() > lsn {
            return Some(Ok(lsn));
        }
        if !self.stopped.load(Ordering::Acquire) {
            return None;
        }
        Self::decided(&self.lock_state(), lsn)
    }

    fn decided(core: &CommitState, lsn: Lsn) -> Option<Result<Lsn, Error>> {
        if core.watermark() > lsn { Some(Ok(lsn)) } else { core.failure().map(|f| Err(f.clone())) }
    }

    /// Enqueues one record; `Blocked` if it has to wait.
    pub(crate) fn append(
        &self,
        batch: &RecordBuilder,
        class: Durability,
        head_crc: u32,
    ) -> Result<Appended, Blocked> {
        let stop = StopOnPanic { log: self, before: std::thread::panicking() };
        let mut core = self.core.lock();
        let placed = core.append(batch, class, head_crc)?;
        let wake = core.claim_driver(false) | core.claim_flusher_wake();
        self.note_work_available(&core);
        drop(core);
        drop(stop);
        if wake {
            self.wake_flusher();
        }
        Ok(placed)
    }

    /// Carries out one operation, then tells everyone concerned.
    pub(crate) fn run(&self, io: DiskOp) {
        let result = io.execute();
        self.complete(io, result);
    }

    /// Takes the outcome of an operation and tells everyone concerned.
    pub(crate) fn complete(&self, io: DiskOp, result: std::io::Result<()>) {
        let mut core = self.core.lock();
        let wake = core.complete(io, result);
        self.adaptive_yield.set_limit(core.yield_max_ns());
        let next = if core.claim_driver(true) {
            HandOff::Driver
        } else {
            core.next_requested().map_or(HandOff::Nobody, |group| HandOff::Waiters(group..core.next_group()))
        };
        self.note_work_available(&core);
        self.notify_waiters(core, wake, next);
    }

    /// Stops the log with `cause` and answers everyone.
    pub(crate) fn poison(&self, cause: Error) {
        let mut core = self.core.lock();
        let wake = core.poison(cause);
        self.work_available.store(true, Ordering::SeqCst);
        self.notify_waiters(core, wake, HandOff::Driver);
    }

    fn notify_waiters(&self, core: MutexGuard<'_, CommitState>, wake: Completed, next: HandOff) {
        let tasks = !core.waiters.is_empty();
        if let Some(end) = wake.watermark {
            self.durable.store(end.as_u64(), Ordering::Release);
        }
        let deliver = !wake.due.answers.is_empty();
        if deliver {
            // Under the core's lock, so that answers stand in log order.
            self.delivery.push(wake.due.answers);
        }
        let stopped = if wake.latched { core.failure().map(|f| (core.shelf(), f.clone())) } else { None };
        if stopped.is_some() {
            self.stopped.store(true, Ordering::Release);
            self.delivery.stop();
        }
        drop(core);
        if let Some((shelf, failure)) = stopped {
            if !matches!(failure, Error::Closed | Error::ReadOnly) {
                shelf.notify_listener(|l| l.latched(&failure));
            }
            self.wait_slots.iter().for_each(|w| {
                w.wake(ALL);
            });
        }
        let rouse = match next {
            HandOff::Nobody => false,
            HandOff::Driver => true,
            HandOff::Waiters(groups) => !self.wake_leader(groups) && tasks,
        };
        if rouse {
            self.wake_flusher();
        }
        for group in wake.durable {
            self.wait_slot(group).wake(ALL);
        }
        wake.due.notices.iter().for_each(Notify::deliver);
        if deliver {
            self.delivery.deliver();
        }
    }

    /// Wakes one waiter of the first of `groups` that has any: who waits for a later group writes the ones
    /// before it. Says whether there was one.
    fn wake_leader(&self, groups: Range<u64>) -> bool {
        groups.take(WORDS).any(|group| self.wait_slot(group).wake(1))
    }

    /// Has `call` called when `lsn` is durable, or at once; gives it back if there is no thread to call it.
    pub(super) fn register(self: &Arc<Committer>, lsn: Lsn, call: Callback) -> Option<Callback> {
        if !self.delivery.reserve(self) {
            return Some(call);
        }
        let mut core = self.core.lock();
        match Self::decided(&core, lsn) {
            Some(result) => {
                // Behind answers that are on their way, so that the order holds.
                self.delivery.push([(UserCode::Call(call), result)]);
                drop(core);
                self.delivery.deliver();
            }
            None => {
                core.waiters.add(lsn, AsyncWaiter::User(UserCode::Call(call)));
                self.write_for_async_waiter(core);
            }
        }
        None
    }

    /// Has `notify` delivered when `lsn` is durable, or at once.
    pub(super) fn notify(&self, lsn: Lsn, notify: Notify) {
        let mut core = self.core.lock();
        if Self::decided(&core, lsn).is_some() {
            drop(core);
            return notify.deliver();
        }
        core.waiters.add(lsn, AsyncWaiter::Notify(notify));
        self.write_for_async_waiter(core);
    }

    /// What became of the record at `lsn`; or `None`, and `waker` is called when that is known.
    pub(super) fn poll(self: &Arc<Committer>, lsn: Lsn, group: u64, waker: &Waker) -> PollOutcome {
        if let Some(result) = self.outcome(lsn) {
            return PollOutcome::Ready(result);
        }
        // In a callback nobody else would call the waker, and without a thread neither.
        if self.delivery.in_callback() || !self.delivery.reserve(self) {
            self.request_sync(group);
            return PollOutcome::Ready(self.wait(lsn, group, None).map(|()| lsn));
        }
        // Before the lock is taken: it is code of the caller.
        let waker = waker.clone();
        let mut core = self.core.lock();
        if let Some(result) = Self::decided(&core, lsn) {
            drop(core);
            self.delivery.release();
            return PollOutcome::Ready(result);
        }
        let key = core.waiters.add(lsn, AsyncWaiter::User(UserCode::Task(waker)));
        self.write_for_async_waiter(core);
        PollOutcome::Pending(key)
    }

    pub(super) fn forget(&self, lsn: Lsn, key: u64) {
        let waiter = self.core.lock().waiters.remove(lsn, key);
        // Else it was called, or is about to be.
        if waiter.is_some() {
            self.delivery.release();
        }
        // Outside of the lock: a waker may own anything, such as another ticket.
        drop(waiter);
    }

    /// Somebody waits without a thread of its own: if the disk is free, the flusher is to write.
    fn write_for_async_waiter(&self, mut core: MutexGuard<'_, CommitState>) {
        let wake = core.next_requested().is_some() | core.claim_flusher_wake();
        drop(core);
        if wake {
            self.wake_flusher();
        }
    }

    /// Call before releasing the core's lock after a change that may let an operation be issued, or keep
    /// it from being. A log that stopped counts as issuable, so that waiters come and get the error.
    pub(super) fn note_work_available(&self, core: &CommitState) {
        let issuable =
            core.failure().is_some() || (!core.left_to_driver() && core.next_requested().is_some());
        self.work_available.store(issuable, Ordering::SeqCst);
    }

    /// As [`Log::note_issuable`], and calls the driver if it is at work and should look again.
    pub(super) fn note_work_and_unlock(&self, mut core: MutexGuard<'_, CommitState>) {
        let call = core.driven() && core.claim_driver(false);
        self.note_work_available(&core);
        drop(core);
        if call {
            self.wake_flusher();
        }
    }

    /// Whether [`Log::answers_full`] may say so: a look without a lock.
    #[inline]
    pub(crate) fn callbacks_limited(&self) -> bool {
        self.delivery.closed()
    }

    /// Whether an append has to wait for room among callbacks and wakers.
    pub(crate) fn callbacks_full(&self) -> Result<bool, Error> {
        self.delivery.full()
    }

    /// Callbacks and wakers registered whose call has not ended.
    pub(crate) fn callback_count(&self) -> usize {
        self.delivery.count()
    }

    /// The log is stopped, and its last handle goes: its thread for callbacks ends when it has called those left.
    pub(crate) fn end_delivery(&self) {
        self.delivery.end();
    }

    /// Says that segments below `segment` are not live; the flusher sees to it that a group carries it.
    pub(crate) fn release(&self, segment: u32) {
        let mut core = self.core.lock();
        core.release(segment);
        let wake = core.claim_flusher_wake();
        drop(core);
        if wake {
            self.wake_flusher();
        }
    }

    /// Has the flusher look again.
    fn wake_flusher(&self) {
        self.flusher.wake(1);
        if self.in_ring.swap(false, Ordering::SeqCst)
            && let Some(waker) = self.ring_waker.get()
        {
            waker.wake();
        }
    }

    pub(super) fn wait_slot(&self, group: u64) -> &WaitSlot {
        #[expect(clippy::cast_possible_truncation, reason = "reduced modulo the number of words")]
        let i = (group % WORDS as u64) as usize;
        &self.wait_slots[i]
    }
}
