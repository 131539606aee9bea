//! The primitives of a model build: the interfaces of a normal build on `shuttle`'s scheduler.
//!
//! Time does not exist: a sleep with a timeout ends at once, after other threads had a chance to run. Atomics are
//! sequentially consistent whatever ordering the code names, so models do not find a wrong ordering.

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
pub(crate) use shuttle::sync::mpsc;
pub(crate) use shuttle::thread;

use shuttle::sync as model;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a thread yields at most before it sleeps.
pub(crate) const YIELDS_MAX: u32 = 2;

/// Calls `work` with each number below `count`, in order, on the calling thread: the calls share no state to interleave
/// on.
pub(crate) fn share_out<T: Send>(
    _threads: usize,
    count: usize,
    work: &(impl Fn(usize) -> T + Sync),
) -> Vec<T> {
    (0..count).map(work).collect()
}

/// As `parking_lot::Mutex`: without poisoning.
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

/// Holds a [`Mutex`], except while its thread waits on a [`Condvar`].
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

/// As `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub(crate) struct Condvar(model::Condvar);

/// The result of a wait with a timeout: it always times out.
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

/// As `parking_lot::RwLock`: without poisoning.
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

/// A futex: comparing the word and adding the sleeper are one step, as under the kernel's lock.
#[derive(Debug, Default)]
pub(crate) struct Futex {
    word: AtomicU32,
    /// Number of sleepers that have not been woken.
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
        // One at a time: the scheduler chooses which sleeper wakes up.
        (0..woken).for_each(|_| self.woken.notify_one());
        woken > 0
    }
}
