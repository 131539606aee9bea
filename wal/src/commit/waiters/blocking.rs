//! Threads that block: until a record is durable, until there is room. One that finds the disk free writes for
//! all; the others let it run for a while, and then sleep ([`Patience`](crate::commit::waiters::adaptive_yield::Patience)).

use crate::commit::committer::Committer;
use crate::commit::state::CommitState;
use crate::commit::waiters::wait_slot::WaitSlot;
use crate::error::Error;
use crate::sync::MutexGuard;
use crate::types::Lsn;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Yields that bring no record until a group is written without waiting for more.
const YIELDS_IN_VAIN: u32 = 2;

impl Committer {
    /// Has group `group` written although all of it may wait: somebody waits for it after all.
    pub(in crate::commit) fn request_sync(&self, group: u64) {
        let mut core = self.core.lock();
        core.request_sync(group);
        self.note_work_and_unlock(core);
    }

    /// Blocks until the record at `lsn` in group `group` is durable, or until `deadline_ns` on the log's clock.
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
            if !self.work_available.load(Ordering::SeqCst) {
                self.pause(word, seen, timeout);
                continue;
            }
            let mut core = self.lock_after_gathering();
            if core.watermark() > lsn {
                return Ok(());
            }
            if let Some(failure) = core.failure() {
                return Err(failure.clone());
            }
            let io = core.issue_as_waiter();
            self.note_work_and_unlock(core);
            match io {
                Some(io) => self.run(io),
                None => self.pause(word, seen, timeout),
            }
        }
    }

    /// Blocks until the record at `lsn` is durable, or `timeout` is over; returns the durable end.
    pub(crate) fn wait_past(&self, lsn: Lsn, timeout: Duration) -> Result<Lsn, Error> {
        let durable = self.durable();
        if durable > lsn {
            return Ok(durable);
        }
        let mut core = self.core.lock();
        if core.watermark() > lsn {
            return Ok(core.watermark());
        }
        if let Some(failure) = core.failure() {
            return Err(failure.clone());
        }
        if timeout.is_zero() {
            return Ok(core.watermark());
        }
        let group = core.request_sync_at(lsn).ok_or(Error::NotInLog { lsn })?;
        self.note_work_and_unlock(core);
        // One that is too far away to be told from never is never.
        let timeout_ns = u64::try_from(timeout.as_nanos()).ok();
        let deadline_ns = timeout_ns.and_then(|timeout_ns| self.clock.now_ns().checked_add(timeout_ns));
        self.wait(lsn, group, deadline_ns)?;
        Ok(self.durable())
    }

    /// Waits for `word` to change since `seen`, or for something to lead.
    fn pause(&self, word: &WaitSlot, seen: u32, timeout: Option<Duration>) {
        let look = || word.load() != seen || self.work_available.load(Ordering::SeqCst);
        if !self.adaptive_yield.wait(&*self.clock, look) {
            word.sleep(seen, timeout);
        }
    }

    /// The state machine, for a thread that is about to write: once the others that take part have appended,
    /// as far as letting them run makes them.
    pub(in crate::commit) fn lock_after_gathering(&self) -> MutexGuard<'_, CommitState> {
        let mut core = self.core.lock();
        if !core.expects_more() {
            return core;
        }
        let (mut now, mut vain) = (self.adaptive_yield.begin(&*self.clock), 0);
        while let Some(now_ns) = now
            && vain < YIELDS_IN_VAIN
            && core.expects_more()
        {
            let filled = core.filled();
            drop(core);
            now = self.adaptive_yield.yield_once(&*self.clock, now_ns);
            core = self.core.lock();
            vain += u32::from(core.filled() <= filled);
        }
        core
    }

    /// Makes everything enqueued so far durable, lazy records included.
    pub(crate) fn flush(&self) -> Result<Lsn, Error> {
        let (lsn, group) = {
            let mut core = self.core.lock();
            if let Some(failure) = core.failure() {
                return Err(failure.clone());
            }
            let last = core.request_sync_all();
            self.note_work_and_unlock(core);
            last
        };
        if !lsn.is_zero() {
            self.wait(lsn, group, None)?;
        }
        Ok(self.durable())
    }

    /// Sleeps until the oldest group in memory made progress, or leads.
    pub(crate) fn wait_for_space(&self) {
        let mut core = self.core.lock();
        if let Some(io) = core.issue_as_waiter() {
            drop(core);
            return self.run(io);
        }
        let Some(oldest) = core.oldest() else { return };
        // Groups that will never be durable wake nobody again.
        if core.failure().is_some() {
            return;
        }
        core.request_sync_all();
        let word = self.wait_slot(oldest);
        let seen = word.load();
        let retry = core.issue_as_waiter();
        self.note_work_and_unlock(core);
        match retry {
            Some(io) => self.run(io),
            None => word.sleep(seen, None),
        }
    }

    /// Blocks until callbacks and wakers have room for one more, or the log has stopped.
    pub(crate) fn wait_for_callbacks(&self) {
        while let Some(registered) = self.delivery.waits_for_room() {
            // What is not durable is not answered, and lazy records have no other writer while appends wait.
            if self.flush().is_err() {
                return;
            }
            self.delivery.wait_for_room(registered);
        }
    }
}
