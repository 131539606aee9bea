//! Judges the messages of peers before the core sees them.
//!
//! The core trusts its peers: some messages make it panic, others make it write what the log refuses. Those are not
//! stepped.

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use crate::adapters::raft_rs::codec;
use crate::adapters::raft_rs::error::{AppendFault, Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::Pump;
use crate::error::Error as EngineError;

impl<H: Host> Pump<H> {
    /// Refuses a message that the core cannot bear. [`Error::LostEntries`] stops the pump, the others stop nothing.
    pub(in crate::adapters::raft_rs) fn judge(&mut self, message: &Message) -> Result<()> {
        match message.get_msg_type() {
            // Without a term the core takes them for its own.
            MessageType::MsgHeartbeat | MessageType::MsgAppend | MessageType::MsgReadIndexResp
                if message.term == 0 =>
            {
                Err(raft::Error::StepLocalMsg.into())
            }
            MessageType::MsgHeartbeat => {
                let judged = self.judge_heartbeat(message);
                self.latched(judged)
            }
            MessageType::MsgAppend => self.judge_append(message),
            MessageType::MsgPropose | MessageType::MsgReadIndex if message.get_entries().is_empty() => {
                Err(raft::Error::ProposalDropped.into())
            }
            MessageType::MsgPropose => {
                self.proposable()?;
                let mut entries = message.get_entries().iter();
                entries.try_for_each(|entry| self.check_proposal(entry.context.len(), entry.data.len()))
            }
            _ => Ok(()),
        }
    }

    /// A leader tells a follower no higher commit index than the last entry that this follower has acknowledged to it.
    /// A log that ends before that has lost entries. Without the message the leader would send nothing but
    /// heartbeats for ever; a lower commit index would hide the loss, and this node could vote as if it had them.
    fn judge_heartbeat(&self, message: &Message) -> Result<()> {
        let raft = &self.node.raft;
        let (commit, last_index) = (message.commit, raft.raft_log.last_index());
        let heeded =
            message.term > raft.term || (message.term == raft.term && raft.state != StateRole::Leader);
        if !heeded || commit <= last_index {
            return Ok(());
        }
        let (group, from) = (self.store.group().id(), message.from);
        Err(Error::LostEntries { group, from, commit, last_index })
    }

    /// The entries of an append follow each other, and a record of this log can hold each. Otherwise the message is dropped
    /// and the host hears of it: the leader sends it again and again.
    fn judge_append(&mut self, message: &Message) -> Result<()> {
        let max = self.store.engine().entry_bytes_max()?;
        let judged = in_order(message).and_then(|()| {
            let mut entries = message.get_entries().iter();
            entries.try_for_each(|entry| {
                self.check_size(entry.index, entry.context.len(), entry.data.len(), max)
            })
        });
        if let Err(why) = &judged {
            self.stats.appends_refused += 1;
            self.host.append_refused(message.from, why);
        }
        judged
    }

    /// Refuses a proposal above what the group has agreed on, or above what a record of this log can hold.
    pub(in crate::adapters::raft_rs) fn check_proposal(&self, context: usize, data: usize) -> Result<()> {
        let index = self.node.raft.raft_log.last_index() + 1;
        self.check_size(index, context, data, self.entry_bytes_max()?.saturating_add(codec::OVERHEAD_BYTES))
    }

    fn check_size(&self, index: u64, context: usize, data: usize, max: usize) -> Result<()> {
        let group = self.store.group().id();
        let bytes = context.saturating_add(data).saturating_add(codec::OVERHEAD_BYTES);
        if bytes > max {
            return Err(EngineError::EntryTooLarge { group, index, bytes, max }.into());
        }
        Ok(())
    }
}

/// The entries of an append follow each other from the one behind which they belong, and none is of a later term than
/// the message. The core takes that for granted: it panics otherwise, or has the log write what it refuses.
fn in_order(message: &Message) -> Result<()> {
    let from = message.from;
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in message.get_entries() {
        if index.checked_add(1) != Some(entry.index) || entry.index > crate::types::INDEX_MAX {
            return Err(Error::Append {
                from,
                fault: AppendFault::Index { before: index, found: entry.index },
            });
        }
        if entry.term < term || entry.term > message.term {
            let (index, found) = (entry.index, entry.term);
            let fault = AppendFault::Term { index, found, min: term, max: message.term };
            return Err(Error::Append { from, fault });
        }
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}
