//! Applies committed entries to the state machine, including membership changes.
//!
//! Step 6 of a Ready: its record is in the log, not yet durable, and the Ready is returned to the core. Each
//! index is applied once and in order. New members are durable before the state machine gets the entry that
//! made them. An error of the state machine or the log stops the pump; after back-pressure the next
//! call continues.

use protobuf::Message as _;
use raft::StateRole;
use raft::eraftpb::{ConfChange, ConfChangeSingle, ConfChangeV2, ConfState, Entry, EntryType};
use seawall_wal::Ticket;

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::state::Pump;
use crate::error::Error as EngineError;

impl<H: Host> Pump<H> {
    /// Applies the committed entries, up to a membership change that is not durable yet.
    pub(in crate::adapters::raft_rs) fn apply(&mut self) -> Result<()> {
        let normal = |entry: &&Entry| entry.entry_type == EntryType::EntryNormal;
        while let Some(first) = self.committed.first() {
            let count = self.committed.iter().take_while(normal).count().max(1);
            if !normal(&first) && !self.change_members(&first.clone())? {
                return Ok(());
            }
            let now: Vec<Entry> = self.committed.drain(..count).collect();
            self.host.apply(&now).map_err(|error| Error::Host(error.into()))?;
            self.applied = now.last().map_or(self.applied, |last| last.index);
            if let Some(snapshots) = &self.snapshots {
                snapshots.applied(now.iter().map(|entry| entry.data.len() as u64).sum());
            }
            self.node.advance_apply_to(self.applied);
            self.check_store()?;
        }
        Ok(())
    }

    /// Handles the membership change in `entry`. The new members become durable before the state machine gets
    /// `entry`, so a state machine that persists its applied index is never ahead of them. Returns whether
    /// `entry` can be applied now. If not, the members are on their way into the log; this function does not
    /// wait for them.
    fn change_members(&mut self, entry: &Entry) -> Result<bool> {
        if entry.index <= self.conf_index {
            return Ok(true);
        }
        if let Some((conf, ticket)) = self.settling.take() {
            return self.settle(entry.index, conf, ticket);
        }
        let changed = match self.changing.take() {
            Some(conf) => Ok(Some(conf)),
            None => self.change_core(entry),
        };
        self.check_store()?;
        let conf = match changed {
            Ok(Some(conf)) => conf,
            Ok(None) => return Ok(true),
            Err(why) => {
                self.host.change_refused(entry.index, &why);
                return Ok(true);
            }
        };
        self.batch.clear();
        self.store.set_conf_state(&mut self.batch, entry.index, &conf);
        match self.store.engine().write(&mut self.batch) {
            Ok(ticket) => {
                let settled = self.settle(entry.index, conf, ticket)?;
                self.hand_off();
                Ok(settled)
            }
            Err(error) => {
                self.changing = Some(conf);
                Err(error.into())
            }
        }
    }

    /// Tells the host about the members that entry `index` made, once they are durable; returns whether they
    /// are.
    fn settle(&mut self, index: u64, conf: ConfState, ticket: Ticket) -> Result<bool> {
        match ticket.outcome() {
            None => {
                self.settling = Some((conf, ticket));
                return Ok(false);
            }
            Some(Err(error)) => return Err(EngineError::Log(error).into()),
            Some(Ok(_)) => {}
        }
        self.conf_index = index;
        self.host.members_changed(index, &conf);
        Ok(true)
    }

    /// Returns the members of the core after `entry`; `None` if the host does not allow the change. The core
    /// need not be told about a refusal: once the entry is applied, it no longer counts the change as pending.
    fn change_core(&mut self, entry: &Entry) -> raft::Result<Option<ConfState>> {
        let change = change_of(entry)?;
        if !change.leave_joint() && !self.host.allow_change(entry.index, &change) {
            return Ok(None);
        }
        let members = self.node.apply_conf_change(&change)?;
        let raft = &mut self.node.raft;
        // Otherwise the core would stay the leader, and panic when it next counts its own progress. Every other
        // voter has the change, or learns of it from one that has.
        if raft.state == StateRole::Leader && !raft.promotable() {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
        Ok(Some(members))
    }
}

/// Decodes the membership change in `entry`, as the newer of the core's two forms.
pub(in crate::adapters::raft_rs) fn change_of(entry: &Entry) -> raft::Result<ConfChangeV2> {
    if entry.entry_type == EntryType::EntryConfChangeV2 {
        return Ok(ConfChangeV2::parse_from_bytes(&entry.data)?);
    }
    let mut old = ConfChange::parse_from_bytes(&entry.data)?;
    let mut single = ConfChangeSingle { node_id: old.node_id, ..ConfChangeSingle::default() };
    single.set_change_type(old.get_change_type());
    let mut change = ConfChangeV2 { context: old.take_context(), ..ConfChangeV2::default() };
    change.mut_changes().push(single);
    Ok(change)
}
