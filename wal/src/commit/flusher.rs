//! The flusher: the thread that serves whoever does not block. Futures, callbacks, tickets that nobody
//! waits for, lazy records of an idle log, and the mark that ends a burst.
//!
//! While records come in it looks once a millisecond, so that appends need not wake it; a log that is
//! idle and marked lets it sleep. It never takes a group that a blocking thread is about to write: only
//! one that it finds waiting twice.

use super::driver::RingQueue;
use crate::commit::committer::Committer;
use crate::commit::state::Blocked;
use std::time::Duration;

/// How often the flusher looks while records come in: the longest that a ticket nobody waits for waits.
const TICK: Duration = Duration::from_millis(1);

/// What the flusher remembers between two looks.
#[derive(Debug, Default)]
pub(crate) struct FlusherState {
    group: Option<u64>,
    records: u64,
    quiet_since_ns: u64,
    /// The group of lazy records being filled, and when it was first seen.
    lazy: Option<(u64, u64)>,
}

/// What the flusher should do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FlusherStep {
    /// Look again at once.
    Again,
    /// Look again after a while.
    Wait,
    /// Nothing until somebody calls.
    Sleep,
    /// The log is closed.
    Stop,
}

impl Committer {
    /// One look: writes at most one group. `now_ns` is monotonic.
    pub(crate) fn flusher_tick(&self, patrol: &mut FlusherState, now_ns: u64, idle_ns: u64) -> FlusherStep {
        let mut core = self.lock_state();
        if core.failure().is_some() {
            return FlusherStep::Stop;
        }
        if core.stats.records != patrol.records {
            patrol.records = core.stats.records;
            patrol.quiet_since_ns = now_ns;
        }
        // By its age, not by the time since the last record: a record a moment would put it off for ever.
        let lazy = core.lazy_group();
        if patrol.lazy.map(|(group, _)| group) != lazy {
            patrol.lazy = lazy.map(|group| (group, now_ns));
        }
        if patrol.lazy.is_some_and(|(_, since_ns)| now_ns.saturating_sub(since_ns) >= idle_ns) {
            core.request_sync_all();
            patrol.group = core.next_requested();
        }
        if let Some(group) = core.next_requested() {
            let seen_before = patrol.group == Some(group);
            patrol.group = Some(group);
            let due = seen_before || !core.waiters.is_empty();
            if due && core.claim_driver(true) {
                return FlusherStep::Again;
            }
            if due && let Some(io) = core.next_disk_op() {
                drop(core);
                self.run(io);
                return FlusherStep::Again;
            }
            return FlusherStep::Wait;
        }
        let idle = now_ns.saturating_sub(patrol.quiet_since_ns) >= idle_ns;
        if core.has_work() || !idle {
            return FlusherStep::Wait;
        }
        if core.needs_mark() {
            return match core.mark() {
                Ok(_) => {
                    patrol.group = core.next_requested();
                    FlusherStep::Again
                }
                Err(Blocked::Queue | Blocked::Pipeline) => FlusherStep::Wait,
                // A full disk: the burst goes unmarked until somebody calls again.
                Err(Blocked::Failed(_)) => {
                    core.flusher_asleep = true;
                    FlusherStep::Sleep
                }
            };
        }
        core.flusher_asleep = true;
        FlusherStep::Sleep
    }

    /// The flusher's thread.
    pub(crate) fn flush_loop(
        &self,
        clock: &dyn crate::disk::Clock,
        idle: Duration,
        mut rail: Option<RingQueue>,
    ) {
        let idle_ns = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
        let mut patrol = FlusherState::default();
        loop {
            let seen = self.flusher.load();
            self.drive(rail.as_mut());
            match self.flusher_tick(&mut patrol, clock.now_ns(), idle_ns) {
                FlusherStep::Again => {}
                FlusherStep::Wait => self.flusher.sleep(seen, Some(TICK)),
                FlusherStep::Sleep => self.flusher.sleep(seen, None),
                FlusherStep::Stop => return,
            }
        }
    }
}
