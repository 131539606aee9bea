//! The primitives of a normal build: re-exports, and a futex of the kernel.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
pub(crate) use std::sync::mpsc;
pub(crate) use std::thread;

use rustix::thread::futex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Calls `work` with each number below `count`, on up to `threads` threads including the caller's, and returns the
/// results in the order of the numbers. With one thread the calls are in ascending order.
pub(crate) fn share_out<T: Send>(
    threads: usize,
    count: usize,
    work: &(impl Fn(usize) -> T + Sync),
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let run = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < count);
        std::iter::from_fn(|| take().map(|i| (i, work(i)))).collect::<Vec<_>>()
    };
    let mut done = thread::scope(|scope| {
        // If a thread cannot be started, the others do its work.
        let others: Vec<_> = (1..threads.min(count))
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, run).ok())
            .collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, made)| made).collect()
}

/// How often a thread yields at most before it sleeps. Takes effect only if the clock does not advance.
pub(crate) const YIELDS_MAX: u32 = 4096;

/// A futex: a word that threads sleep on until it changes.
#[derive(Debug, Default)]
pub(crate) struct Futex(AtomicU32);

impl Futex {
    /// The present value of the word.
    #[inline]
    pub(crate) fn seen(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Changes the word, without waking sleepers.
    #[inline]
    pub(crate) fn change(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Sleeps unless the word differs from `seen`, at most `timeout`; may wake spuriously.
    #[inline]
    pub(crate) fn wait(&self, seen: u32, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|t| t.try_into().ok());
        let _ = futex::wait(&self.0, futex::Flags::PRIVATE, seen, timeout.as_ref());
    }

    /// Wakes up to `count` sleepers; returns whether there were any.
    #[inline]
    pub(crate) fn wake(&self, count: u32) -> bool {
        futex::wake(&self.0, futex::Flags::PRIVATE, count).is_ok_and(|n| n > 0)
    }
}
