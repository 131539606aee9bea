//! The flusher: the thread that serves whoever does not block. Futures, callbacks, tickets that nobody
//! waits for, lazy records of an idle log, and the mark that ends a burst.
//!
//! While records come in it looks once a millisecond, so that appends need not wake it; a log that is
//! idle and marked lets it sleep. It never takes a group that a blocking thread is about to write: only
//! one that it finds waiting twice.

use super::driver::Rail;
use crate::commit::committer::Log;
use crate::commit::state::Blocked;
use std::time::Duration;

/// How often the flusher looks while records come in: the longest that a ticket nobody waits for waits.
const PATROL: Duration = Duration::from_millis(1);

/// What the flusher remembers between two looks.
#[derive(Debug, Default)]
pub(crate) struct Patrol {
    group: Option<u64>,
    records: u64,
    quiet_since_ns: u64,
    /// The group of lazy records being filled, and when it was first seen.
    lazy: Option<(u64, u64)>,
}

/// What the flusher should do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again at once.
    Again,
    /// Look again after a while.
    Wait,
    /// Nothing until somebody calls.
    Sleep,
    /// The log is closed.
    Stop,
}

impl Log {
    /// One look: writes at most one group. `now_ns` is monotonic.
    pub(crate) fn patrol(&self, patrol: &mut Patrol, now_ns: u64, idle_ns: u64) -> Next {
        let mut core = self.core();
        if core.failure().is_some() {
            return Next::Stop;
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
            core.want_all();
            patrol.group = core.next_wanted();
        }
        if let Some(group) = core.next_wanted() {
            let seen_before = patrol.group == Some(group);
            patrol.group = Some(group);
            let due = seen_before || !core.waiters.is_empty();
            if due && core.call_driver(true) {
                return Next::Again;
            }
            if due && let Some(io) = core.next_io() {
                drop(core);
                self.run(io);
                return Next::Again;
            }
            return Next::Wait;
        }
        let idle = now_ns.saturating_sub(patrol.quiet_since_ns) >= idle_ns;
        if core.has_work() || !idle {
            return Next::Wait;
        }
        if core.needs_mark() {
            return match core.mark() {
                Ok(_) => {
                    patrol.group = core.next_wanted();
                    Next::Again
                }
                Err(Blocked::Queue | Blocked::Pipeline) => Next::Wait,
                // A full disk: the burst goes unmarked until somebody calls again.
                Err(Blocked::Failed(_)) => {
                    core.flusher_asleep = true;
                    Next::Sleep
                }
            };
        }
        core.flusher_asleep = true;
        Next::Sleep
    }

    /// The flusher's thread.
    pub(crate) fn flush_loop(&self, clock: &dyn crate::disk::Clock, idle: Duration, mut rail: Option<Rail>) {
        let idle_ns = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
        let mut patrol = Patrol::default();
        loop {
            let seen = self.flusher.seen();
            self.drive(rail.as_mut());
            match self.patrol(&mut patrol, clock.now_ns(), idle_ns) {
                Next::Again => {}
                Next::Wait => self.flusher.sleep(seen, Some(PATROL)),
                Next::Sleep => self.flusher.sleep(seen, None),
                Next::Stop => return,
            }
        }
    }
}
