//! Holds a group back while the records that it waits for arrive.
//!
//! When a group becomes durable, its users usually append again at once. If the next group were written as soon as the
//! first of them has appended, the others would have to wait for a second write. So under the plans that gather
//! ([`WritePlan`](crate::commit::state::write_policy::WritePlan)) the next group is due only when it holds as many
//! records as are expected, or when the usual time for that has passed. One thread, the *gatherer*, waits for that, with
//! the lock released, and then issues the group. A lone writer waits for nobody: one record became durable, one arrives.

use crate::commit::state::commit_state::CommitState;

impl CommitState {
    /// Decides, when `answered` records have just become durable, whether the next group is held back.
    pub(super) fn begin_gathering(&mut self, answered: u32, now_ns: u64) {
        self.gather = None;
        if self.flight.len() > 0 || !self.queued.is_empty() {
            return;
        }
        self.gather = self.policy.gather(self.filled(), answered, now_ns);
    }

    /// Ends the gathering if the group has all the records that it waits for. Call it after an append.
    pub(super) fn note_gathered(&mut self) {
        let filled = self.filled();
        if let Some(gather) = self.gather.take_if(|gather| filled >= gather.target) {
            self.policy.gathered(self.clock.now_ns().saturating_sub(gather.begin_ns), true);
        }
    }

    /// Whether the group being filled is held back now.
    pub(crate) fn is_gathering(&self) -> bool {
        self.gather.is_some()
            && self.failure.is_none()
            && self.queued.is_empty()
            && self.flight.len() == 0
            && !self.is_large()
    }

    /// Until when the group being filled is held back, in nanoseconds; `None` if it is not.
    pub(crate) fn gathering_until_ns(&self) -> Option<u64> {
        self.gather.filter(|_| self.is_gathering()).map(|gather| gather.until_ns)
    }

    /// Ends the gathering because its time has passed, or because nobody may wait any longer.
    pub(crate) fn stop_gathering(&mut self) {
        if let Some(gather) = self.gather.take() {
            self.policy.gathered(self.clock.now_ns().saturating_sub(gather.begin_ns), false);
        }
    }
}
