//! The flusher: the thread that writes groups for which no thread blocks.
//!
//! It serves futures, callbacks, tickets for which no thread waits, and lazy records of an idle log, and it writes the
//! mark that ends a burst. While records arrive it looks once per millisecond, so appends need not wake it. When the
//! log is idle and ends with a mark, it sleeps. It takes a group only if it finds the same group waiting twice, or if a
//! future, callback or notice is registered, so it does not take a group from a thread that is about to write it.

use crate::commit::committer::Committer;
use crate::commit::driver::RingQueue;
use crate::commit::state::Blocked;
use std::time::Duration;

/// How often the flusher looks while records arrive; bounds the delay of a ticket for which no thread waits.
const TICK: Duration = Duration::from_millis(1);

/// State of the flusher that lasts from one tick to the next.
#[derive(Debug, Default)]
pub(crate) struct FlusherState {
    group: Option<u64>,
    records: u64,
    quiet_since_ns: u64,
    /// The group of lazy records being filled, and when the flusher first saw it, in nanoseconds.
    lazy: Option<(u64, u64)>,
}

/// The flusher's next action after a tick.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FlusherStep {
    /// Tick again at once.
    Again,
    /// Tick again after [`TICK`].
    Wait,
    /// Sleep until woken.
    Sleep,
    /// End: the log has stopped.
    Stop,
}

impl Committer {
    /// One tick: writes at most one group. `now_ns` is the time of a monotonic clock.
    pub(crate) fn flusher_tick(
        &self,
        flusher_state: &mut FlusherState,
        now_ns: u64,
        idle_ns: u64,
    ) -> FlusherStep {
        let mut state = self.lock_state();
        if state.failure().is_some() {
            return FlusherStep::Stop;
        }
        if state.stats.records != flusher_state.records {
            flusher_state.records = state.stats.records;
            flusher_state.quiet_since_ns = now_ns;
        }
        // Measured by the age of the group, not since its last record: a steady stream of lazy records would delay it
        // for ever.
        let lazy = state.lazy_group();
        if flusher_state.lazy.map(|(group, _)| group) != lazy {
            flusher_state.lazy = lazy.map(|group| (group, now_ns));
        }
        if flusher_state.lazy.is_some_and(|(_, since_ns)| now_ns.saturating_sub(since_ns) >= idle_ns) {
            state.request_sync_all();
            flusher_state.group = state.next_requested();
        }
        if let Some(group) = state.next_requested() {
            let seen_before = flusher_state.group == Some(group);
            flusher_state.group = Some(group);
            // A thread that gathers records for the group issues it.
            let due = (seen_before || !state.waiters.is_empty()) && !state.gatherer;
            if due && state.claim_driver(true) {
                return FlusherStep::Again;
            }
            if due {
                state = self.gather(state, false, None);
            }
            if due && let Some(io) = state.next_disk_op() {
                drop(state);
                self.run(io);
                return FlusherStep::Again;
            }
            return FlusherStep::Wait;
        }
        let idle = now_ns.saturating_sub(flusher_state.quiet_since_ns) >= idle_ns;
        if state.has_work() || !idle {
            return FlusherStep::Wait;
        }
        if state.needs_mark() {
            return match state.mark() {
                Ok(_) => {
                    flusher_state.group = state.next_requested();
                    FlusherStep::Again
                }
                Err(Blocked::Queue | Blocked::Preallocator) => FlusherStep::Wait,
                // The disk is full: no mark until the flusher is woken again.
                Err(Blocked::Failed(_)) => {
                    state.flusher_asleep = true;
                    FlusherStep::Sleep
                }
            };
        }
        state.flusher_asleep = true;
        FlusherStep::Sleep
    }

    /// The loop of the flusher's thread, which is the driver too.
    pub(crate) fn flush_loop(
        &self,
        clock: &dyn seawall_disk::clock::Clock,
        idle: Duration,
        mut ring: Option<RingQueue>,
    ) {
        let idle_ns = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
        let mut flusher_state = FlusherState::default();
        loop {
            let seen = self.state.flusher.slot.load();
            self.drive(ring.as_mut());
            match self.flusher_tick(&mut flusher_state, clock.now_ns(), idle_ns) {
                FlusherStep::Again => {}
                FlusherStep::Wait => self.state.flusher.slot.sleep(seen, Some(TICK)),
                FlusherStep::Sleep => self.state.flusher.slot.sleep(seen, None),
                FlusherStep::Stop => return,
            }
        }
    }
}
