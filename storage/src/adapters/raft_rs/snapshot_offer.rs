//! A snapshot in the core's words: which one it speaks of, and how one is offered to a peer.
//! Place on the data's way: between the catalog and the core's messages. Pure; a snapshot of another group is refused.

use raft::eraftpb::{self, SnapshotMetadata};

use crate::adapters::raft_rs::error::Result;
use crate::snapshots::snap::SnapshotId;
use crate::snapshots::{Error as SnapshotsError, Served, Snapshots};
use crate::types::{ConfState, GroupId};

/// Refuses the snapshots of another group.
pub(super) fn check_group(snapshots: &Snapshots, group: GroupId) -> Result<()> {
    let id = SnapshotId { group: snapshots.group(), index: 0, term: 0 };
    if id.group == group { Ok(()) } else { Err(SnapshotsError::OtherGroup { group, id }.into()) }
}

/// The snapshot that the core speaks of.
pub(super) fn id(group: GroupId, metadata: &SnapshotMetadata) -> SnapshotId {
    SnapshotId { group, index: metadata.index, term: metadata.term }
}

/// The snapshot as the core sends it: members, index and term, and the offer for data.
pub(super) fn offered(served: &Served) -> Option<eraftpb::Snapshot> {
    let members = served.members.as_ref()?;
    let mut snapshot = eraftpb::Snapshot::default();
    let metadata = snapshot.mut_metadata();
    let SnapshotId { index, term, .. } = served.offer.id();
    (metadata.index, metadata.term) = (index, term);
    metadata.set_conf_state(core_members(members));
    snapshot.data = served.offer.encode().into();
    Some(snapshot)
}

/// The engine's members as the core's.
pub(super) fn core_members(members: &ConfState) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: members.voters.clone(),
        learners: members.learners.clone(),
        voters_outgoing: members.voters_outgoing.clone(),
        learners_next: members.learners_next.clone(),
        auto_leave: members.auto_leave,
        ..eraftpb::ConfState::default()
    }
}
