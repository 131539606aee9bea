//! Converts between snapshots of a group and the snapshot messages of the core.

use raft::eraftpb::{self, SnapshotMetadata};

use crate::adapters::raft_rs::error::Result;
use crate::snapshots::snap::SnapshotId;
use crate::snapshots::{Error as SnapshotsError, Served, Snapshots};
use crate::types::{ConfState, GroupId};

/// Fails if `snapshots` belongs to another group.
pub(super) fn check_group(snapshots: &Snapshots, group: GroupId) -> Result<()> {
    let id = SnapshotId { group: snapshots.group(), index: 0, term: 0 };
    if id.group == group { Ok(()) } else { Err(SnapshotsError::OtherGroup { group, id }.into()) }
}

/// The id of the snapshot that the core's `metadata` describes.
pub(super) fn id(group: GroupId, metadata: &SnapshotMetadata) -> SnapshotId {
    SnapshotId { group, index: metadata.index, term: metadata.term }
}

/// The snapshot as the core sends it: index, term and members as metadata, the offer as data. `None` if the
/// snapshot has no members.
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

/// Converts the members of the engine to those of the core.
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
