//! Committed entries on their way into the state machine, changes of the members among them.
//! Place on the data's way: the last step of a Ready, behind its record and its return to the core.
//! Invariants: every index once and in order; members are durable before the state machine hears of the entry that
//! made them. Fails: as the state machine or the log does, for good; a full disk leaves the rest for the next call.

use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeV2, ConfState, Entry, EntryType};
use seawall_wal::mutant::mutant;

use crate::error::Error as EngineError;
use crate::raft_rs::error::{Error, Result};
use crate::raft_rs::host::Host;
use crate::raft_rs::pump::Pump;

impl<H: Host> Pump<H> {
    /// Applies what is committed.
    pub(super) fn apply(&mut self) -> Result<()> {
        let normal = |entry: &&Entry| entry.entry_type == EntryType::EntryNormal;
        while let Some(first) = self.committed.first() {
            let count = self.committed.iter().take_while(normal).count().max(1);
            if !normal(&first) {
                self.change_members(&first.clone())?;
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

    /// The members that `entry` makes are durable before the state machine hears of it: one that persists
    /// its applied index is never ahead of them.
    fn change_members(&mut self, entry: &Entry) -> Result<()> {
        if entry.index <= self.conf_index {
            return Ok(());
        }
        let changed = match self.changing.take() {
            Some(conf) => Ok(conf),
            None => self.change_core(entry),
        };
        self.check_store()?;
        let conf = match changed {
            Ok(conf) => conf,
            Err(why) => {
                self.host.change_refused(entry.index, &why);
                return Ok(());
            }
        };
        self.batch.clear();
        self.store.set_conf_state(&mut self.batch, entry.index, &conf);
        match self.store.engine().write(&mut self.batch) {
            Ok(ticket) if !mutant("members_not_durable_when_applied") => {
                ticket.wait().map_err(EngineError::Log)?;
            }
            Ok(_) => {}
            Err(error) => {
                self.changing = Some(conf);
                return Err(error.into());
            }
        };
        self.conf_index = entry.index;
        self.host.members_changed(entry.index, &conf);
        Ok(())
    }

    fn change_core(&mut self, entry: &Entry) -> raft::Result<ConfState> {
        if entry.entry_type == EntryType::EntryConfChange {
            let change = ConfChange::parse_from_bytes(&entry.data).map_err(raft::Error::from)?;
            self.node.apply_conf_change(&change)
        } else {
            let change = ConfChangeV2::parse_from_bytes(&entry.data).map_err(raft::Error::from)?;
            self.node.apply_conf_change(&change)
        }
    }
}
