//! Stops a leader that is about to lose its vote from appending more entries.
//!
//! The core counts a change of the members when it applies it, not when it appends it. A leader that applies the change that
//! takes its vote can neither lead nor campaign afterwards. If its log were then longer than the logs of the other voters,
//! and none of them had heard that the change is committed, they would need its vote and never get it: the group could elect
//! nobody again. The change is therefore the last entry that such a leader appends. Every voter that acknowledged it is as up
//! to date as the leader, which grants that voter its vote.

use raft::eraftpb::{ConfChangeType, ConfChangeV2, EntryType};
use raft::{GetEntriesContext, StateRole};

use crate::adapters::raft_rs::error::Result;
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::Pump;
use crate::adapters::raft_rs::pump::apply::change_of;

/// Bytes of entries that one look reads at a time.
const READ_BYTES_MAX: u64 = 1 << 20;

/// The answer of the last look at the log, and what it depends on.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::adapters::raft_rs) struct Leaving {
    term: u64,
    pending_index: u64,
    takes_vote: bool,
}

impl<H: Host> Pump<H> {
    /// Refuses a proposal while the log of this leader has a change of the members, not applied yet, that takes its vote.
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

    /// Whether an entry up to `last` that is not applied takes the vote of this node.
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

    /// Whether this node has a vote once `change` is applied; `None` if the change leaves that as it is.
    fn is_voter_after(&self, change: &ConfChangeV2) -> Option<bool> {
        let raft = &self.node.raft;
        if change.leave_joint() {
            return Some(raft.prs().conf().to_conf_state().voters.contains(&raft.id));
        }
        // A node that a joint change removes votes until the group leaves the joint configuration.
        if change.enter_joint().is_some() {
            return None;
        }
        let mut own = change.changes.iter().filter(|change| change.node_id == raft.id);
        own.next_back().map(|change| change.get_change_type() == ConfChangeType::AddNode)
    }
}
