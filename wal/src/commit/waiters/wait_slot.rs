//! Futex words that threads sleep on: the wait slots of the log, and the bell for callers.

use crate::sync::{AtomicU32, Futex};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Wakes all sleepers. The kernel treats the count as signed.
pub(in crate::commit) const ALL: u32 = i32::MAX.cast_unsigned();

/// A word that threads sleep on; it changes whenever they should check again.
#[derive(Debug, Default)]
pub(in crate::commit) struct WaitSlot {
    futex: Futex,
    sleepers: AtomicU32,
}

impl WaitSlot {
    pub(in crate::commit) fn load(&self) -> u32 {
        self.futex.seen()
    }

    /// Sleeps unless the word differs from `seen`; may wake spuriously.
    pub(in crate::commit) fn sleep(&self, seen: u32, timeout: Option<Duration>) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        self.futex.wait(seen, timeout);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Changes the word and wakes up to `count` sleepers. Returns whether there were any.
    pub(in crate::commit) fn wake(&self, count: u32) -> bool {
        self.futex.change();
        self.sleepers.load(Ordering::SeqCst) > 0 && self.futex.wake(count)
    }
}

/// A counter that threads wait on, for [`Notify::Bell`](crate::notify::Notify::Bell).
///
/// Read [`Bell::rung`], check for the event, and if it has not happened, call [`Bell::wait`] with that value: a ring in
/// between is not missed. One bell may serve any number of tickets, and other threads may ring it as well.
#[derive(Debug, Default)]
pub struct Bell(WaitSlot);

impl Bell {
    /// Creates a bell that has not been rung.
    pub fn new() -> Bell {
        Bell::default()
    }

    /// How often the bell was rung, modulo 2^32.
    pub fn rung(&self) -> u32 {
        self.0.load()
    }

    /// Rings the bell: wakes every thread that waits on it.
    pub fn ring(&self) {
        self.0.wake(ALL);
    }

    /// Blocks until the bell is rung again after [`Bell::rung`] returned `rung`, or until `timeout` has passed. May
    /// return spuriously, so check again.
    pub fn wait(&self, rung: u32, timeout: Option<Duration>) {
        self.0.sleep(rung, timeout);
    }
}
