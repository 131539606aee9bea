//! Support for a node that joins a group: it has no members until a snapshot of the leader brings them.
//!
//! Without members a node must not accept entries. An entry that adds this node would make it the only member
//! that it knows, and it would elect itself in addition to the leader of the group. It therefore requests a
//! snapshot, and the core accepts nothing else until that is restored. After a crash before the snapshot is
//! durable, the node is still joining.

use raft::eraftpb::Message;

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::state::Pump;
use crate::adapters::raft_rs::storage::GroupStorage;
use crate::types::ConfState;
use crate::write::WriteBatch;

/// The oldest snapshot that a joining node requests: any snapshot will do. The core takes 0 for no request.
pub(in crate::adapters::raft_rs) const JOIN_INDEX_MIN: u64 = 1;

impl GroupStorage {
    /// Makes this the storage of a node that joins a group. The node starts without members, which is durable
    /// when this returns. Call it once, on a node with an id that the group has never used. A leader of the
    /// group adds that id ([`Pump::propose_conf_change`]) before or after.
    ///
    /// The node requests a snapshot, which has the members, from the leader, and accepts no entries before. It
    /// does not campaign, but votes when requested. Both this node and the leader need
    /// [`PumpOptions::snapshots`](crate::adapters::raft_rs::PumpOptions::snapshots). In a group without
    /// snapshots, whose log still has its first entry, call [`GroupStorage::bootstrap`] on the joining node
    /// instead, with the members that the group started with.
    ///
    /// # Errors
    /// [`Error::Bootstrap`] if the group has members or entries on this node; or an error of the engine.
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
    /// Handles snapshot requests in append responses on a leader. The core forgets a request only when it gets
    /// a report about the snapshot, and would otherwise send another snapshot to a node that already has one;
    /// the first response without a request therefore clears it. Returns `false` if the response must be
    /// dropped because it requests a snapshot that its sender has received since.
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
