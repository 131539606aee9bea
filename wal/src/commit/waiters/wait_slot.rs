//! Words that threads sleep on: one that the log's threads use, and the bell that a caller may use.

use crate::sync::{AtomicU32, Futex};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// As many sleepers as there can be; the kernel takes the count as signed.
pub(in crate::commit) const ALL: u32 = i32::MAX.cast_unsigned();

/// A word that threads sleep on: it changes when they should look again.
#[derive(Debug, Default)]
pub(in crate::commit) struct WaitSlot {
    futex: Futex,
    sleepers: AtomicU32,
}

impl WaitSlot {
    pub(in crate::commit) fn load(&self) -> u32 {
        self.futex.seen()
    }

    /// Sleeps unless the word changed since `seen`; may wake for no reason.
    pub(in crate::commit) fn sleep(&self, seen: u32, timeout: Option<Duration>) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        self.futex.wait(seen, timeout);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes up to `count` sleepers; says whether there were any.
    pub(in crate::commit) fn wake(&self, count: u32) -> bool {
        self.futex.change();
        self.sleepers.load(Ordering::SeqCst) > 0 && self.futex.wake(count)
    }
}

/// A count that threads wait on, for [`Notify::Bell`](crate::Notify::Bell).
///
/// Read [`Bell::rung`], look at what you wait for, and if it is not there yet, [`Bell::wait`]: a ring in between
/// is not missed. One bell may stand for any number of tickets and be rung by other threads as well.
#[derive(Debug, Default)]
pub struct Bell(WaitSlot);

impl Bell {
    /// A bell that has not been rung.
    pub fn new() -> Bell {
        Bell::default()
    }

    /// How often it was rung, modulo 2^32.
    pub fn rung(&self) -> u32 {
        self.0.load()
    }

    /// Wakes every thread that waits.
    pub fn ring(&self) {
        self.0.wake(ALL);
    }

    /// Blocks until the bell is rung again after [`Bell::rung`] returned `rung`, or `timeout` is over. May
    /// return for no reason, so look again.
    pub fn wait(&self, rung: u32, timeout: Option<Duration>) {
        self.0.sleep(rung, timeout);
    }
}
