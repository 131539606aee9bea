//! Checks the messages of peers before the core gets them.
//!
//! The core trusts its peers: some messages make it panic, others make it write entries that the log refuses.
//! Such messages are dropped.

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use crate::adapters::raft_rs::codec;
use crate::adapters::raft_rs::error::{AppendFault, Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::state::Pump;
use crate::error::Error as EngineError;

impl<H: Host> Pump<H> {
    /// Refuses a message that the core cannot handle. [`Error::LostEntries`] stops the pump; the other errors
    /// do not.
    pub(in crate::adapters::raft_rs) fn judge(&mut self, message: &Message) -> Result<()> {
        match message.get_msg_type() {
            // The core takes messages without a term for its own.
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

    /// Detects lost entries. A leader sends a follower no commit index above the last entry that the follower
    /// has acknowledged to it, so a log that ends before that index has lost entries. Dropping the message
    /// would leave the leader sending heartbeats for ever; a lower commit index would hide the loss, and this
    /// node could vote as if it had the entries.
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

    /// Checks that the entries of an append are consecutive and that a record of this log can hold each of
    /// them. Otherwise the message is dropped and the host is told, because the leader sends it again and
    /// again.
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

    /// Refuses a proposal that exceeds [`Pump::entry_bytes_max`].
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

/// Checks that the entries of an append are consecutive from the entry that precedes them, that their terms do
/// not decrease, and that no term exceeds that of the message. The core does not check this: it panics, or
/// makes the log write entries that it refuses.
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
