//! What a usual build gets: re-exports, and a futex word of the kernel.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
pub(crate) use std::sync::mpsc;
pub(crate) use std::thread;

use rustix::thread::futex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What `work` makes of each number below `count`, in their order, by up to `threads` threads, the caller's
/// among them. With one they are taken in ascending order.
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
        // A thread that cannot be had is done without.
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

/// As often as a thread yields before it sleeps, where the clock does not move.
pub(crate) const YIELDS_MAX: u32 = 4096;

/// A word that threads sleep on until it changes.
#[derive(Debug, Default)]
pub(crate) struct Futex(AtomicU32);

impl Futex {
    /// The word.
    #[inline]
    pub(crate) fn seen(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Changes it.
    #[inline]
    pub(crate) fn change(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Sleeps unless the word changed since `seen`; may wake for no reason.
    #[inline]
    pub(crate) fn wait(&self, seen: u32, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|t| t.try_into().ok());
        let _ = futex::wait(&self.0, futex::Flags::PRIVATE, seen, timeout.as_ref());
    }

    /// Wakes up to `count` sleepers; says whether there were any.
    #[inline]
    pub(crate) fn wake(&self, count: u32) -> bool {
        futex::wake(&self.0, futex::Flags::PRIVATE, count).is_ok_and(|n| n > 0)
    }
}
