//! A node that joins a group: it has no members until a snapshot of the leader brings them.
//!
//! Without members it must take no entries. One that adds this node would make it the only member that it knows of, and
//! it would elect itself next to the group's leader. So it asks for a snapshot, and the core takes nothing else until
//! that is restored. A crash before the snapshot is durable leaves a node that joins.

use raft::eraftpb::Message;

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::Pump;
use crate::adapters::raft_rs::storage::GroupStorage;
use crate::types::ConfState;
use crate::write::WriteBatch;

/// The oldest snapshot that a node which joins asks for: any. For the core 0 means that nothing is asked for.
pub(in crate::adapters::raft_rs) const JOIN_INDEX_MIN: u64 = 1;

impl GroupStorage {
    /// Makes this the storage of a node that joins a group: it starts without members, which is durable when this
    /// returns. To be done once, on a node with a number that the group never had; a leader of the group adds that number
    /// ([`Pump::propose_conf_change`]) before or after.
    ///
    /// Such a node asks the leader for a snapshot, which has the members, and takes no entries before; it does not
    /// campaign, and it votes if it is asked to. It needs [`PumpOptions::snapshots`](crate::adapters::raft_rs::PumpOptions::snapshots), and so
    /// does the leader. In a group without snapshots, and as long as the log has its first entry, [`GroupStorage::bootstrap`]
    /// a node that joins with the members that the group started with.
    ///
    /// # Errors
    /// [`Error::Bootstrap`] if the group has members or entries here; or the engine's error.
    pub fn join(&self) -> Result<()> {
        let group = self.group().id();
        if let Some(reason) = self.in_use() {
            return Err(Error::Bootstrap { group, reason });
        }
        let mut batch = WriteBatch::new();
        batch.conf_state(group, &ConfState::default());
        self.engine().write(&mut batch)?.wait().map_err(crate::error::Error::Log)?;
        Ok(())
    }
}

impl<H: Host> Pump<H> {
    /// What a leader makes of an answer that asks for a snapshot, and of the first that does not: the core forgets a
    /// request only when it is told what became of the snapshot, and would send another to a node that has it. `false` if
    /// the answer is to be dropped: it asks for what its sender has had since.
    pub(in crate::adapters::raft_rs) fn heed_request(&mut self, message: &Message) -> bool {
        let raft = &mut self.node.raft;
        if message.term != raft.term {
            return true;
        }
        let Some(progress) = raft.mut_prs().get_mut(message.from) else { return true };
        if message.request_snapshot != 0 {
            return progress.matched < message.request_snapshot;
        }
        if !message.reject && message.index >= progress.pending_request_snapshot {
            progress.pending_request_snapshot = 0;
        }
        true
    }
}
