//! Lets a waiting thread yield the CPU for a while before it sleeps.
//!
//! On a fast device, waking a sleeping thread takes longer than the rest of the write that it waits for; a thread that
//! yields finds the result when it runs again. That holds only while no other work needs the CPU: the scheduler lets a
//! computing thread run for a whole time slice before a yielding one. So a yield that takes over 1 ms means that the
//! CPU is contended: all waiters then sleep immediately, with a back-off that doubles after each failed retry. Decision
//! 16 has the measurements. Correctness does not depend on yielding.

use crate::sync::{AtomicU64, YIELDS_MAX, thread};
use seawall_disk::clock::Clock;
use std::sync::atomic::Ordering::Relaxed;

/// A yield that takes this long, in nanoseconds, means that another thread was computing. A scheduler's time slice is
/// longer; a round of hundreds of yielding threads is shorter.
const SLOW_YIELD_NS: u64 = 1_000_000;

/// Bounds of the back-off, in nanoseconds: how long threads sleep without yielding after a slow yield.
const HOLD_MIN_NS: u64 = 10_000_000;
const HOLD_MAX_NS: u64 = 16_000_000_000;

/// How long threads yield, and whether they may at present. Shared by all threads of a log, without a lock.
#[derive(Debug, Default)]
pub(in crate::commit) struct AdaptiveYield {
    /// How long a thread yields, in nanoseconds; 0 if it sleeps at once.
    limit_ns: AtomicU64,
    /// When threads may yield again, and how long the back-off before that was, in nanoseconds.
    resume_ns: AtomicU64,
    hold_ns: AtomicU64,
}

impl AdaptiveYield {
    /// Sets how long threads yield, in nanoseconds.
    pub(in crate::commit) fn set_limit(&self, limit_ns: u64) {
        self.limit_ns.store(limit_ns, Relaxed);
    }

    /// The time now, if yielding may pay; `None` if the thread should sleep at once.
    pub(in crate::commit) fn begin(&self, clock: &dyn Clock) -> Option<u64> {
        if self.limit_ns.load(Relaxed) == 0 {
            return None;
        }
        Some(clock.now_ns()).filter(|&now_ns| now_ns >= self.resume_ns.load(Relaxed))
    }

    /// Yields once. Returns the time afterwards; `None` if the yield was slow and threads should sleep.
    pub(in crate::commit) fn yield_once(&self, clock: &dyn Clock, before_ns: u64) -> Option<u64> {
        thread::yield_now();
        let now_ns = clock.now_ns();
        if now_ns.saturating_sub(before_ns) < SLOW_YIELD_NS {
            return Some(now_ns);
        }
        self.back_off(now_ns);
        None
    }

    /// Yields until `done` returns true, the limit is reached or a yield was slow. Returns whether it is done.
    pub(in crate::commit) fn wait(&self, clock: &dyn Clock, done: impl Fn() -> bool) -> bool {
        let Some(begin_ns) = self.begin(clock) else { return false };
        let end_ns = begin_ns.saturating_add(self.limit_ns.load(Relaxed));
        let mut now_ns = begin_ns;
        for _ in 0..YIELDS_MAX {
            let after = self.yield_once(clock, now_ns);
            if done() {
                return true;
            }
            match after {
                Some(after_ns) if after_ns < end_ns => now_ns = after_ns,
                _ => break,
            }
        }
        false
    }

    fn back_off(&self, now_ns: u64) {
        let (resume_ns, hold_ns) = (self.resume_ns.load(Relaxed), self.hold_ns.load(Relaxed));
        // Another thread has seen the same contention and has set the back-off already.
        if now_ns < resume_ns {
            return;
        }
        let again = now_ns - resume_ns < hold_ns;
        let hold_ns = if again { (hold_ns * 2).min(HOLD_MAX_NS) } else { HOLD_MIN_NS };
        self.hold_ns.store(hold_ns, Relaxed);
        self.resume_ns.store(now_ns.saturating_add(hold_ns), Relaxed);
    }
}

#[cfg(all(test, not(seawall_shuttle)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64 as Time;

    /// A clock that advances by a fixed step at every reading.
    #[derive(Debug)]
    struct Steps(Time, Time);

    impl Steps {
        fn new(step_ns: u64) -> Steps {
            Steps(Time::new(1 << 40), Time::new(step_ns))
        }
    }

    impl Clock for Steps {
        fn wall_ms(&self) -> u64 {
            0
        }

        fn now_ns(&self) -> u64 {
            let step_ns = self.1.load(Relaxed);
            self.0.fetch_add(step_ns, Relaxed) + step_ns
        }
    }

    #[test]
    fn it_ends_after_its_limit_and_at_once_without_one() {
        let (adaptive, clock, looked) = (AdaptiveYield::default(), Steps::new(1000), Time::new(0));
        let look = || looked.fetch_add(1, Relaxed) == 30;
        assert!(!adaptive.wait(&clock, look));
        assert_eq!(looked.load(Relaxed), 0);
        adaptive.set_limit(20_000);
        assert!(!adaptive.wait(&clock, look));
        assert_eq!(looked.load(Relaxed), 20);
        assert!(adaptive.wait(&clock, look), "done in the eleventh look");
    }

    #[test]
    fn busy_processors_end_it_for_longer_each_time() {
        let (adaptive, clock) = (AdaptiveYield::default(), Steps::new(SLOW_YIELD_NS));
        adaptive.set_limit(u64::MAX);
        let mut holds = Vec::new();
        for _ in 0..14 {
            assert!(!adaptive.wait(&clock, || false));
            let lost_ns = clock.0.load(Relaxed);
            assert_eq!(adaptive.begin(&clock), None);
            let resume_ns = adaptive.resume_ns.load(Relaxed);
            holds.push(resume_ns - lost_ns);
            clock.0.store(resume_ns, Relaxed);
        }
        let doubled = (0..14).map(|n| (HOLD_MIN_NS << n).min(HOLD_MAX_NS));
        assert_eq!(holds, doubled.collect::<Vec<_>>());
        // After a retry that stays fast for that long, the back-off starts at its minimum again.
        clock.0.fetch_add(HOLD_MAX_NS, Relaxed);
        assert!(!adaptive.wait(&clock, || false));
        assert_eq!(adaptive.hold_ns.load(Relaxed), HOLD_MIN_NS);
    }
}
