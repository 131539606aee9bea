//! What the models get: the interfaces of the usual build over `shuttle`'s scheduler.
//!
//! Time does not exist: a sleep with a timeout runs out at once, after others had a chance to run.
//! Atomics are sequentially consistent whatever ordering they name, so a wrong ordering goes unseen.

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
pub(crate) use shuttle::sync::mpsc;
pub(crate) use shuttle::thread;

use shuttle::sync as model;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// As often as a thread yields before it sleeps.
pub(crate) const YIELDS_MAX: u32 = 2;

/// One after the other: what is shared out meets on nothing.
pub(crate) fn share_out<T: Send>(
    _threads: usize,
    count: usize,
    work: &(impl Fn(usize) -> T + Sync),
) -> Vec<T> {
    (0..count).map(work).collect()
}

/// As `parking_lot`'s: no poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(model::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(model::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
    }
}

/// Holds a [`Mutex`], except while its thread waits for a [`Condvar`].
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    held: Option<model::MutexGuard<'a, T>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("held outside of a wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held outside of a wait")
    }
}

/// As `parking_lot`'s.
#[derive(Debug, Default)]
pub(crate) struct Condvar(model::Condvar);

/// Ends of waits with a timeout: all of them ran out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RanOut;

impl RanOut {
    pub(crate) fn timed_out(self) -> bool {
        true
    }
}

impl Condvar {
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.held.take() {
            guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) -> RanOut {
        guard.held = None;
        thread::yield_now();
        guard.held = guard.lock.lock().held;
        RanOut
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// As `parking_lot`'s: no poison.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(model::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> RwLock<T> {
        RwLock(model::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> model::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> model::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A futex: the word is compared and the sleeper enlisted in one step, as under the kernel's lock.
#[derive(Debug, Default)]
pub(crate) struct Futex {
    word: AtomicU32,
    /// Sleepers that nobody has woken yet.
    sleepers: model::Mutex<u32>,
    woken: model::Condvar,
}

impl Futex {
    pub(crate) fn seen(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    pub(crate) fn change(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn wait(&self, seen: u32, timeout: Option<Duration>) {
        if timeout.is_some() {
            return thread::yield_now();
        }
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.seen() == seen {
            *sleepers += 1;
            drop(self.woken.wait(sleepers));
        }
    }

    pub(crate) fn wake(&self, count: u32) -> bool {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = count.min(*sleepers);
        *sleepers -= woken;
        // One by one: which of them is the scheduler's choice.
        (0..woken).for_each(|_| self.woken.notify_one());
        woken > 0
    }
}
