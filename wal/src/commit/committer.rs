//! The log as its users share it: the state machine behind its lock, and whoever waits for it.
//!
//! Place on the data's way: between the `Wal` and the core. Invariants: no lock is held during I/O or callbacks; who
//! waits is woken when what it waits for is durable, or the log has failed.

use super::delivery::Delivery;
use crate::commit::disk_op::Io;
use crate::commit::state::issue::Wake;
use crate::commit::state::{Blocked, Core, Placed};
use crate::commit::waiters::adaptive_yield::Patience;
use crate::commit::waiters::futures::{Callback, Notify, User, Waiter};
use crate::commit::waiters::wait_slot::{ALL, Word};
use crate::disk::{Clock, RingWaker};
use crate::error::Error;
use crate::format::Batch;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard};
use crate::types::{Class, Lsn};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// Futex words that groups share by ordinal: enough that waiters of neighbouring groups never do.
const WORDS: usize = 64;

/// What a poll comes to.
pub(super) enum Polled {
    Ready(Result<Lsn, Error>),
    /// The waker was left; this names it.
    Pending(u64),
}

/// Who goes on when an operation has ended.
enum Successor {
    Nobody,
    /// The driver.
    Driver,
    /// A waiter of one of these groups, the first of which is to be written.
    Waiters(Range<u64>),
}

/// One open log's write side, shared by all of its threads.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) core: Mutex<Core>,
    /// Mirrors of the core's watermark, and of the number of its segment.
    pub(super) durable: AtomicU64,
    pub(super) active: Arc<AtomicU32>,
    /// Whether an operation could be issued when the core's lock was last released by someone who changed
    /// that: spares waiters the lock when there is nothing for them to lead.
    pub(super) issuable: AtomicBool,
    pub(super) patience: Patience,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) words: [Word; WORDS],
    pub(super) flusher: Word,
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
    log: &'a Log,
    /// The thread was unwinding when it came.
    before: bool,
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.before {
            let location = self.log.core().location();
            self.log.latch(Error::io("append to", location, "", std::io::Error::other("panic")));
        }
    }
}

impl Log {
    pub(crate) fn new(core: Core) -> Log {
        let durable = AtomicU64::new(core.watermark().as_u64());
        let delivery = Delivery::new(core.limits.answers_max, core.limits.spawned);
        Log {
            patience: Patience::default(),
            clock: Arc::clone(&core.clock),
            active: Arc::clone(&core.active),
            core: Mutex::new(core),
            durable,
            issuable: AtomicBool::new(false),
            words: std::array::from_fn(|_| Word::default()),
            flusher: Word::default(),
            in_ring: AtomicBool::new(false),
            ring_waker: OnceLock::new(),
            stopped: AtomicBool::new(false),
            delivery,
        }
    }

    /// The state machine. Held for short: never across I/O.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
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
        Self::decided(&self.core(), lsn)
    }

    fn decided(core: &Core, lsn: Lsn) -> Option<Result<Lsn, Error>> {
        if core.watermark() > lsn { Some(Ok(lsn)) } else { core.failure().map(|f| Err(f.clone())) }
    }

    /// Enqueues one record; `Blocked` if it has to wait.
    pub(crate) fn append(&self, batch: &Batch, class: Class, head_crc: u32) -> Result<Placed, Blocked> {
        let stop = StopOnPanic { log: self, before: std::thread::panicking() };
        let mut core = self.core.lock();
        let placed = core.append(batch, class, head_crc)?;
        let wake = core.call_driver(false) | core.rouse_flusher();
        self.note_issuable(&core);
        drop(core);
        drop(stop);
        if wake {
            self.rouse();
        }
        Ok(placed)
    }

    /// Carries out one operation, then tells everyone concerned.
    pub(crate) fn run(&self, io: Io) {
        let result = io.execute();
        self.complete(io, result);
    }

    /// Takes the outcome of an operation and tells everyone concerned.
    pub(crate) fn complete(&self, io: Io, result: std::io::Result<()>) {
        let mut core = self.core.lock();
        let wake = core.complete(io, result);
        self.patience.set_limit(core.patience_ns());
        let next = if core.call_driver(true) {
            Successor::Driver
        } else {
            core.next_wanted().map_or(Successor::Nobody, |group| Successor::Waiters(group..core.next_group()))
        };
        self.note_issuable(&core);
        self.tell(core, wake, next);
    }

    /// Stops the log with `cause` and answers everyone.
    pub(crate) fn latch(&self, cause: Error) {
        let mut core = self.core.lock();
        let wake = core.latch(cause);
        self.issuable.store(true, Ordering::SeqCst);
        self.tell(core, wake, Successor::Driver);
    }

    fn tell(&self, core: MutexGuard<'_, Core>, wake: Wake, next: Successor) {
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
                shelf.tell(|l| l.latched(&failure));
            }
            self.words.iter().for_each(|w| {
                w.wake(ALL);
            });
        }
        let rouse = match next {
            Successor::Nobody => false,
            Successor::Driver => true,
            Successor::Waiters(groups) => !self.wake_leader(groups) && tasks,
        };
        if rouse {
            self.rouse();
        }
        for group in wake.durable {
            self.word(group).wake(ALL);
        }
        wake.due.notices.iter().for_each(Notify::deliver);
        if deliver {
            self.delivery.deliver();
        }
    }

    /// Wakes one waiter of the first of `groups` that has any: who waits for a later group writes the ones
    /// before it. Says whether there was one.
    fn wake_leader(&self, groups: Range<u64>) -> bool {
        groups.take(WORDS).any(|group| self.word(group).wake(1))
    }

    /// Has `call` called when `lsn` is durable, or at once; gives it back if there is no thread to call it.
    pub(super) fn register(self: &Arc<Log>, lsn: Lsn, call: Callback) -> Option<Callback> {
        if !self.delivery.reserve(self) {
            return Some(call);
        }
        let mut core = self.core.lock();
        match Self::decided(&core, lsn) {
            Some(result) => {
                // Behind answers that are on their way, so that the order holds.
                self.delivery.push([(User::Call(call), result)]);
                drop(core);
                self.delivery.deliver();
            }
            None => {
                core.waiters.add(lsn, Waiter::User(User::Call(call)));
                self.hurry(core);
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
        core.waiters.add(lsn, Waiter::Notify(notify));
        self.hurry(core);
    }

    /// What became of the record at `lsn`; or `None`, and `waker` is called when that is known.
    pub(super) fn poll(self: &Arc<Log>, lsn: Lsn, group: u64, waker: &Waker) -> Polled {
        if let Some(result) = self.outcome(lsn) {
            return Polled::Ready(result);
        }
        // In a callback nobody else would call the waker, and without a thread neither.
        if self.delivery.in_call() || !self.delivery.reserve(self) {
            self.want(group);
            return Polled::Ready(self.wait(lsn, group, None).map(|()| lsn));
        }
        // Before the lock is taken: it is code of the caller.
        let waker = waker.clone();
        let mut core = self.core.lock();
        if let Some(result) = Self::decided(&core, lsn) {
            drop(core);
            self.delivery.release();
            return Polled::Ready(result);
        }
        let key = core.waiters.add(lsn, Waiter::User(User::Task(waker)));
        self.hurry(core);
        Polled::Pending(key)
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
    fn hurry(&self, mut core: MutexGuard<'_, Core>) {
        let wake = core.next_wanted().is_some() | core.rouse_flusher();
        drop(core);
        if wake {
            self.rouse();
        }
    }

    /// Call before releasing the core's lock after a change that may let an operation be issued, or keep
    /// it from being. A log that stopped counts as issuable, so that waiters come and get the error.
    pub(super) fn note_issuable(&self, core: &Core) {
        let issuable = core.failure().is_some() || (!core.left_to_driver() && core.next_wanted().is_some());
        self.issuable.store(issuable, Ordering::SeqCst);
    }

    /// As [`Log::note_issuable`], and calls the driver if it is at work and should look again.
    pub(super) fn note_and_unlock(&self, mut core: MutexGuard<'_, Core>) {
        let call = core.driven() && core.call_driver(false);
        self.note_issuable(&core);
        drop(core);
        if call {
            self.rouse();
        }
    }

    /// Whether [`Log::answers_full`] may say so: a look without a lock.
    #[inline]
    pub(crate) fn answers_closed(&self) -> bool {
        self.delivery.closed()
    }

    /// Whether an append has to wait for room among callbacks and wakers.
    pub(crate) fn answers_full(&self) -> Result<bool, Error> {
        self.delivery.full()
    }

    /// Callbacks and wakers registered whose call has not ended.
    pub(crate) fn answers(&self) -> usize {
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
        let wake = core.rouse_flusher();
        drop(core);
        if wake {
            self.rouse();
        }
    }

    /// Has the flusher look again.
    fn rouse(&self) {
        self.flusher.wake(1);
        if self.in_ring.swap(false, Ordering::SeqCst)
            && let Some(waker) = self.ring_waker.get()
        {
            waker.wake();
        }
    }

    pub(super) fn word(&self, group: u64) -> &Word {
        #[expect(clippy::cast_possible_truncation, reason = "reduced modulo the number of words")]
        let i = (group % WORDS as u64) as usize;
        &self.words[i]
    }
}
