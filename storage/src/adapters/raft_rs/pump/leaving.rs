//! Stops a leader that is about to lose its vote from appending more entries.
//!
//! The core counts a membership change when it applies it, not when it appends it. A leader that applies the
//! change which takes its vote can neither lead nor campaign afterwards. If its log were then longer than the
//! logs of the other voters, and none of them had heard that the change is committed, they would need its vote
//! and never get it: the group could never elect a leader again. The change is therefore the last entry that
//! such a leader appends. Every voter that acknowledged it is as up to date as the leader, which grants that
//! voter its vote.

use raft::eraftpb::{ConfChangeType, ConfChangeV2, EntryType};
use raft::{GetEntriesContext, StateRole};

use crate::adapters::raft_rs::error::Result;
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::apply::change_of;
use crate::adapters::raft_rs::pump::state::{Leaving, Pump};

/// Maximum number of bytes of entries that one read loads while it searches for membership changes.
const READ_BYTES_MAX: u64 = 1 << 20;

impl<H: Host> Pump<H> {
    /// Refuses a proposal while the log of this leader has an unapplied membership change that takes its vote.
    pub(in crate::adapters::raft_rs) fn check_leaving(&mut self) -> Result<()> {
        let raft = &self.node.raft;
        let (term, pending_index) = (raft.term, raft.pending_conf_index);
        if raft.state != StateRole::Leader || pending_index <= self.applied {
            return Ok(());
        }
        if (self.leaving.term, self.leaving.pending_index) != (term, pending_index) {
            let takes_vote = self.takes_own_vote(pending_index)?;
            self.leaving = Leaving { term, pending_index, takes_vote };
        }
        if self.leaving.takes_vote { Err(raft::Error::ProposalDropped.into()) } else { Ok(()) }
    }

    /// Whether an unapplied entry up to `last` takes the vote of this node.
    fn takes_own_vote(&self, last: u64) -> Result<bool> {
        let raft = &self.node.raft;
        let (mut low, high) = (self.applied + 1, last.min(raft.raft_log.last_index()) + 1);
        while low < high {
            let entries =
                raft.raft_log.slice(low, high, Some(READ_BYTES_MAX), GetEntriesContext::empty(false))?;
            let Some(end) = entries.last() else { break };
            low = end.index + 1;
            for entry in entries.iter().filter(|entry| entry.entry_type != EntryType::EntryNormal) {
                if self.is_voter_after(&change_of(entry)?) == Some(false) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether this node is a voter once `change` is applied; `None` if the change does not affect that.
    fn is_voter_after(&self, change: &ConfChangeV2) -> Option<bool> {
        let raft = &self.node.raft;
        if change.leave_joint() {
            return Some(raft.prs().conf().to_conf_state().voters.contains(&raft.id));
        }
        // A node that a joint change removes keeps its vote until the group leaves the joint configuration.
        if change.enter_joint().is_some() {
            return None;
        }
        let mut own = change.changes.iter().filter(|change| change.node_id == raft.id);
        own.next_back().map(|change| change.get_change_type() == ConfChangeType::AddNode)
    }
}
