//! Stops a pump in order: another member takes the lead, and everything in flight becomes durable, before the
//! loop ends.

use raft::StateRole;

use crate::adapters::raft_rs::error::Result;
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::outcome::{End, Outcome};
use crate::adapters::raft_rs::pump::state::{Pump, Stopping};

impl<H: Host> Pump<H> {
    /// Begins to stop this node. From now on it refuses proposals
    /// ([`Error::Stopping`](crate::adapters::raft_rs::Error::Stopping)) and starts no election. If it leads, it
    /// transfers the leadership to the voter with the most complete log; if that voter does not take over
    /// within an election timeout, to the next. Keep driving the pump, with messages and ticks, until
    /// [`Pump::poll`] returns [`Outcome::Ended`]. That happens when another member leads and nothing is in
    /// flight, or after `ticks` ticks at the latest; two or three election timeouts are enough. A disk that is
    /// full does not delay this, nor does one that does not respond: from this call on, the pump's thread does not
    /// write ([`Pump::wait`]). A write of it that is under way ends first, also when another thread of a node calls.
    ///
    /// Then drop the pump. When the pumps of all groups have ended, call
    /// [`Engine::close`](crate::Engine::close), which makes the rest durable. A snapshot that is being taken is
    /// cancelled when the last handle of its [`Snapshots`](crate::snapshots::Snapshots) is dropped. A second
    /// call resets the number of ticks.
    ///
    /// # Errors
    /// The error that stopped the pump for good, now or earlier.
    pub fn stop(&mut self, ticks: u64) -> Result<Outcome> {
        self.running()?;
        self.stopping = Some(Stopping { ticks_left: ticks, asked: Vec::new() });
        self.poll()
    }

    /// Counts a tick while the pump is being stopped.
    pub(in crate::adapters::raft_rs) fn count_down(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.ticks_left = stopping.ticks_left.saturating_sub(1);
        }
    }

    /// Transfers the leadership to a voter, if this node leads, is being stopped, and has no transfer in
    /// progress. Each voter is asked once per round.
    pub(in crate::adapters::raft_rs) fn hand_over(&mut self) {
        let Some(stopping) = &mut self.stopping else { return };
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader || raft.lead_transferee.is_some() {
            return;
        }
        let others =
            || raft.prs().conf().voters().ids().iter().filter(|id| *id != raft.id).collect::<Vec<_>>();
        if others().iter().all(|id| stopping.asked.contains(id)) {
            stopping.asked.clear();
        }
        let left = others().into_iter().filter(|id| !stopping.asked.contains(id));
        let best = left.max_by_key(|id| raft.prs().get(*id).map(|of| (of.recent_active, of.matched)));
        if let Some(best) = best {
            stopping.asked.push(best);
            self.node.transfer_leader(best);
        }
    }

    /// How the pump ended, if it was told to stop and has ended.
    pub(in crate::adapters::raft_rs) fn ended(&self) -> Option<End> {
        let stopping = self.stopping.as_ref()?;
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader && !self.is_only_voter();
        let drained = self.at_rest();
        (stopping.ticks_left == 0 || (drained && !leads)).then_some(End { leads, drained })
    }
}
