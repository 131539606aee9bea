//! The log as its users share it: the state machine behind its lock, and whoever waits for it.
//!
//! Place on the data's way: between the `Wal` and the core. Invariants: no lock is held during I/O or callbacks; who
//! waits is woken when what it waits for is durable, or the log has failed.

use super::core::{Blocked, Core, Placed};
use super::io::Io;
use super::issue::Wake;
use super::patience::Patience;
use super::waiters::Waiter;
use crate::disk::{Clock, RingWaker};
use crate::error::Error;
use crate::frame::Batch;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Futex, Mutex, MutexGuard};
use crate::types::{Class, Lsn};
use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

/// Futex words that groups share by ordinal: enough that waiters of neighbouring groups never do.
const WORDS: usize = 64;

/// As many sleepers as there can be; the kernel takes the count as signed.
const ALL: u32 = i32::MAX.cast_unsigned();

/// A word that threads sleep on: it changes when they should look again.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) futex: Futex,
    pub(super) sleepers: AtomicU32,
}

impl Word {
    pub(super) fn seen(&self) -> u32 {
        self.futex.seen()
    }

    /// Sleeps unless the word changed since `seen`; may wake for no reason.
    pub(super) fn sleep(&self, seen: u32, timeout: Option<Duration>) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        self.futex.wait(seen, timeout);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes up to `count` sleepers; says whether there were any.
    fn wake(&self, count: u32) -> bool {
        self.futex.change();
        self.sleepers.load(Ordering::SeqCst) > 0 && self.futex.wake(count)
    }
}

/// Who goes on when an operation has ended.
enum Successor {
    Nobody,
    /// The driver.
    Driver,
    /// A waiter of one of these groups, the first of which is to be written.
    Waiters(Range<u64>),
}

/// Answers on their way, delivered in log order by one thread at a time.
#[derive(Debug, Default)]
struct Outbox {
    answers: VecDeque<(Waiter, Result<Lsn, Error>)>,
    delivering: bool,
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
    outbox: Mutex<Outbox>,
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
            outbox: Mutex::default(),
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
        let deliver = !wake.answers.is_empty();
        if deliver {
            // Under the core's lock, so that answers stand in log order.
            self.outbox.lock().answers.extend(wake.answers);
        }
        let stopped = if wake.latched { core.failure().map(|f| (core.shelf(), f.clone())) } else { None };
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
        if deliver {
            self.deliver();
        }
    }

    /// Wakes one waiter of the first of `groups` that has any: who waits for a later group writes the ones
    /// before it. Says whether there was one.
    fn wake_leader(&self, groups: Range<u64>) -> bool {
        groups.take(WORDS).any(|group| self.word(group).wake(1))
    }

    /// Empties the outbox, unless another thread is at it.
    fn deliver(&self) {
        let mut outbox = self.outbox.lock();
        if outbox.delivering {
            return;
        }
        outbox.delivering = true;
        while let Some((waiter, result)) = outbox.answers.pop_front() {
            drop(outbox);
            // A panic in a caller's code must not keep the others from being answered.
            let _ = catch_unwind(AssertUnwindSafe(|| match waiter {
                Waiter::Task(waker) => waker.wake(),
                Waiter::Call(call) => call(result),
            }));
            outbox = self.outbox.lock();
        }
        outbox.delivering = false;
    }

    /// Leaves `waiter` to be told about `lsn`; at once if there is nothing to wait for.
    pub(super) fn register(&self, lsn: Lsn, waiter: Waiter) {
        let mut core = self.core.lock();
        let ready =
            if core.watermark() > lsn { Some(Ok(lsn)) } else { core.failure().map(|f| Err(f.clone())) };
        match ready {
            Some(result) => {
                // Behind answers that are on their way, so that the order holds.
                self.outbox.lock().answers.push_back((waiter, result));
                drop(core);
                self.deliver();
            }
            None => {
                core.waiters.add(lsn, waiter);
                self.hurry(core);
            }
        }
    }

    /// `Ok(None)` if `lsn` is durable, else leaves `waker` and returns its key.
    pub(super) fn poll(&self, lsn: Lsn, waker: &Waker) -> Result<Option<u64>, Error> {
        let mut core = self.core.lock();
        if core.watermark() > lsn {
            return Ok(None);
        }
        if let Some(failure) = core.failure() {
            return Err(failure.clone());
        }
        let key = core.waiters.add(lsn, Waiter::Task(waker.clone()));
        self.hurry(core);
        Ok(Some(key))
    }

    pub(super) fn forget(&self, lsn: Lsn, key: u64) {
        let waiter = self.core.lock().waiters.remove(lsn, key);
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
