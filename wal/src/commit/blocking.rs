//! Blocks threads until a record is durable or there is room to append.
//!
//! A thread that finds the disk free writes for all, after it has waited for the records that are expected soon. The
//! others yield for a while and then sleep
//! ([`AdaptiveYield`](crate::commit::waiters::adaptive_yield::AdaptiveYield)).

use crate::commit::committer::Committer;
use crate::commit::shared_state::StateGuard;
use crate::commit::state::GATHER_NS_MAX;
use crate::commit::waiters::wait_slot::WaitSlot;
use crate::error::Error;
use crate::sync::YIELDS_MAX;
use crate::types::Lsn;
use std::time::Duration;

impl Committer {
    /// Asks for group `group` to be written, because a thread waits for it although it holds lazy records only.
    pub(in crate::commit) fn request_sync(&self, group: u64) {
        let mut state = self.state.lock();
        state.request_sync(group);
        state.continue_wait();
    }

    /// Blocks until the record at `lsn` in group `group` is durable, or until `deadline_ns` on the log's clock.
    ///
    /// Writes groups itself while it waits. Fails with the error that stopped the log.
    pub(crate) fn wait(&self, lsn: Lsn, group: u64, deadline_ns: Option<u64>) -> Result<(), Error> {
        let word = self.wait_slot(group);
        loop {
            let seen = word.load();
            if self.durable() > lsn {
                return Ok(());
            }
            let timeout = match deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(self.clock.now_ns()))
            {
                Some(0) => return Ok(()),
                rest_ns => rest_ns.map(Duration::from_nanos),
            };
            if !self.state.work_available() {
                self.pause(word, seen, timeout);
                continue;
            }
            let mut state = self.state.lock();
            if state.watermark() <= lsn {
                state = self.gather(state, true, deadline_ns);
            }
            if state.watermark() > lsn {
                self.leave(state);
                return Ok(());
            }
            if let Some(failure) = state.failure() {
                return Err(failure.clone());
            }
            let io = state.issue_as_waiter();
            state.continue_wait();
            drop(state);
            match io {
                Some(io) => self.run(io),
                None => self.pause(word, seen, timeout),
            }
        }
    }

    /// Writes groups until the record at `lsn` is durable or the log has stopped, as long as this thread may issue; returns
    /// whether it wrote. Does not wait for other threads, except that it lets them append to a group that is held back.
    pub(crate) fn try_write(&self, lsn: Lsn) -> bool {
        let mut wrote = false;
        while self.durable() <= lsn && self.state.work_available() {
            let mut state = self.state.lock();
            if state.watermark() <= lsn {
                state = self.gather(state, true, None);
            }
            if state.watermark() > lsn {
                self.leave(state);
                break;
            }
            let Some(io) = state.issue_as_waiter() else { break };
            drop(state);
            self.run(io);
            wrote = true;
        }
        wrote
    }

    /// Lets another thread issue what this one found to be due, but has no reason to wait for.
    fn leave(&self, state: StateGuard<'_>) {
        if state.left_to_driver() {
            return;
        }
        let Some(next) = state.next_requested() else { return };
        let groups = next..state.next_group();
        drop(state);
        if !self.wake_leader(groups) {
            self.state.flusher.wake();
        }
    }

    /// Blocks until the record at `lsn` is durable or `timeout` has passed; returns the end of the durable prefix.
    pub(crate) fn wait_past(&self, lsn: Lsn, timeout: Duration) -> Result<Lsn, Error> {
        let durable = self.durable();
        if durable > lsn {
            return Ok(durable);
        }
        let mut state = self.state.lock();
        if state.watermark() > lsn {
            return Ok(state.watermark());
        }
        if let Some(failure) = state.failure() {
            return Err(failure.clone());
        }
        if timeout.is_zero() {
            return Ok(state.watermark());
        }
        let group = state.request_sync_at(lsn).ok_or(Error::NotInLog { lsn })?;
        state.continue_wait();
        drop(state);
        // A deadline beyond the range of the clock is no deadline.
        let timeout_ns = u64::try_from(timeout.as_nanos()).ok();
        let deadline_ns = timeout_ns.and_then(|timeout_ns| self.clock.now_ns().checked_add(timeout_ns));
        self.wait(lsn, group, deadline_ns)?;
        Ok(self.durable())
    }

    /// Yields, then sleeps, until `word` differs from `seen` or an operation can be issued; at most `timeout` asleep.
    fn pause(&self, word: &WaitSlot, seen: u32, timeout: Option<Duration>) {
        let look = || word.load() != seen || self.state.work_available();
        if !self.adaptive_yield.wait(&*self.clock, look) {
            word.sleep(seen, timeout);
        }
    }

    /// Waits, with the lock released, until the next group is no longer held back, for a thread that is about to write.
    /// Returns at once if it is not held back, or another thread waits for that. The thread yields first if `yields` is
    /// set, and then sleeps; not beyond `deadline_ns`.
    pub(in crate::commit) fn gather<'a>(
        &'a self,
        mut state: StateGuard<'a>,
        yields: bool,
        deadline_ns: Option<u64>,
    ) -> StateGuard<'a> {
        let Some(until_ns) = state.gathering_until_ns().filter(|_| !state.gatherer) else { return state };
        state.gatherer = true;
        let seen = self.state.gatherer_slot.load();
        drop(state);
        self.wait_for_gathering(seen, until_ns.min(deadline_ns.unwrap_or(u64::MAX)), yields);
        state = self.state.lock();
        state.gatherer = false;
        // It waits once only, so a clock that stands still does not keep it.
        state.stop_gathering();
        state
    }

    /// Yields, if `yields` is set, and then sleeps, until the next group is no longer held back, or until `until_ns`. `seen`
    /// is the value of the gatherer's wait slot before the lock was released.
    fn wait_for_gathering(&self, seen: u32, until_ns: u64, yields: bool) {
        let mut yielding_ns = self.adaptive_yield.begin(&*self.clock).filter(|_| yields);
        for _ in 0..YIELDS_MAX {
            let Some(now_ns) = yielding_ns else { break };
            if now_ns >= until_ns || !self.state.gathering() {
                return;
            }
            yielding_ns = self.adaptive_yield.yield_once(&*self.clock, now_ns);
        }
        // Bounded, in case the clock was set back.
        let rest_ns = until_ns.saturating_sub(self.clock.now_ns()).min(GATHER_NS_MAX);
        if rest_ns > 0 {
            self.state.gatherer_slot.sleep(seen, Some(Duration::from_nanos(rest_ns)));
        }
    }

    /// Makes everything enqueued so far durable, lazy records included; returns the end of the durable prefix.
    pub(crate) fn flush(&self) -> Result<Lsn, Error> {
        let (lsn, group) = {
            let mut state = self.state.lock();
            if let Some(failure) = state.failure() {
                return Err(failure.clone());
            }
            let last = state.request_sync_all();
            state.continue_wait();
            drop(state);
            last
        };
        if !lsn.is_zero() {
            self.wait(lsn, group, None)?;
        }
        Ok(self.durable())
    }

    /// Sleeps until the oldest group in memory may have made progress, or writes a group itself.
    pub(crate) fn wait_for_space(&self) {
        let mut state = self.state.lock();
        // Those who wait for room cannot append, so nobody need wait for their records.
        state.stop_gathering();
        if let Some(io) = state.issue_as_waiter() {
            drop(state);
            return self.run(io);
        }
        let Some(oldest) = state.oldest() else { return };
        // After a failure no group becomes durable, so nothing would wake this thread.
        if state.failure().is_some() {
            return;
        }
        state.request_sync_all();
        let word = self.wait_slot(oldest);
        let seen = word.load();
        let retry = state.issue_as_waiter();
        state.continue_wait();
        drop(state);
        match retry {
            Some(io) => self.run(io),
            None => word.sleep(seen, None),
        }
    }

    /// Blocks until there is room for another callback or waker, or the log has stopped.
    pub(crate) fn wait_for_callbacks(&self) {
        while let Some(registered) = self.delivery.waits_for_room() {
            // Callbacks run only for durable records, and while appends wait nothing else writes lazy records.
            if self.flush().is_err() {
                return;
            }
            self.delivery.wait_for_room(registered);
        }
    }
}
