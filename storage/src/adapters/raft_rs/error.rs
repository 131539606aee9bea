//! Every way the adapter can fail, sorted by who must act.
//! Place on the data's way: returned by the pump's calls; kept by a pump that stopped, and given again.
//! Invariants: cheap to clone; says whether the pump goes on. The engine's errors come through unchanged.
//! An error of the core that concerns one message or proposal stops nothing.

use std::sync::Arc;

use crate::adapters::raft_rs::codec::CodecError;
use crate::error::Error as EngineError;
use crate::snapshots::Error as SnapshotsError;
use crate::snapshots::snap::format;
use crate::types::GroupId;

/// What a state machine may fail with.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a call of the adapter failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller: nothing happened, and the pump goes on.
    /// The core refused: a proposal without a leader, a message of an unknown peer, an invalid config.
    #[error("the core refused: {0}")]
    Core(Arc<raft::Error>),
    /// A snapshot, for a pump that was given none to work with.
    #[error("a snapshot from {from}: this pump has no snapshots")]
    Snapshot {
        /// The peer that sent it.
        from: u64,
    },
    /// A snapshot's message is not what this adapter makes; it is dropped.
    #[error("a snapshot from {from}: {fault}")]
    SnapshotMessage {
        /// The peer that sent it.
        from: u64,
        /// What is wrong with it.
        fault: SnapshotFault,
    },
    /// The entries of a peer's append do not follow each other; it is dropped. The message was not made by a Raft core,
    /// or was damaged on its way.
    #[error("an append from {from} was dropped: {fault}; check what carries the messages")]
    Append {
        /// The peer that sent it.
        from: u64,
        /// What is wrong with it.
        fault: AppendFault,
    },
    /// Compaction beyond what snapshots cover, as their options say.
    #[error("index {index} is not covered by snapshots, {floor} is")]
    NotCovered {
        /// The index asked for.
        index: u64,
        /// Up to where the log may be compacted; 0 if not at all.
        floor: u64,
    },
    /// The group has entries or members already, or the members given cannot start a group.
    #[error("group {group} cannot be bootstrapped: {reason}")]
    Bootstrap {
        /// The group.
        group: GroupId,
        /// What is in the way.
        reason: &'static str,
    },
    /// The group has no members: [`GroupStorage::bootstrap`](super::GroupStorage::bootstrap) it, or
    /// [`GroupStorage::join`](super::GroupStorage::join) one that others have.
    #[error("group {group} has no members: bootstrap it, or let this node join it")]
    NoMembers {
        /// The group.
        group: GroupId,
    },
    /// A proposal to a pump that was told to stop: propose it to the next leader.
    #[error("this node is being stopped: propose to another member")]
    Stopping,
    /// A node that joins gets the members with a snapshot, and
    /// [`PumpOptions::snapshots`](super::PumpOptions::snapshots) are none.
    #[error("a node that joins group {group} gets the members with a snapshot: give the pump snapshots")]
    JoinNeedsSnapshots {
        /// The group.
        group: GroupId,
    },
    /// `readys_max` of [`PumpOptions`](super::PumpOptions) is 0.
    #[error("option readys_max is 0; it must be at least 1")]
    NoReadys,
    /// `entry_bytes_max` of [`PumpOptions`](super::PumpOptions) is more than a record of this log can hold.
    #[error(
        "option entry_bytes_max is {value}; a record of this log holds at most {max}: make its segments larger, or agree \
         on less in the whole group"
    )]
    EntryLimit {
        /// The option's value.
        value: usize,
        /// Bytes of context and data that a record can hold.
        max: usize,
    },
    /// Compaction beyond what is applied.
    #[error("index {index} is not applied yet, {applied} is")]
    NotApplied {
        /// The index asked for.
        index: u64,
        /// The last index applied.
        applied: u64,
    },

    // The operator: state machine and log do not belong together, or the log is damaged.
    /// The state machine is behind the start of the log, or ahead of its end: entries are missing.
    #[error("applied index {applied} does not lie between the compaction point {point} and {last_index}")]
    Applied {
        /// `Config::applied`, which is the state machine's.
        applied: u64,
        /// Index of the compaction point.
        point: u64,
        /// Last index of the log.
        last_index: u64,
    },
    /// The leader knows entries as acknowledged by this node that its log does not have: it lost its end, or was
    /// replaced by an older copy. The pump stops, and nothing leaves any more: a node that voted without those entries
    /// could help to elect a leader that lacks committed ones. Other groups run on.
    ///
    /// Remove the member from the group, and add it again with another id and an empty log.
    #[error(
        "group {group}: member {from} leads and knows entries up to {commit} as acknowledged by this node, whose log \
         ends at {last_index}: entries were lost; remove this member from the group and add it again with an empty log"
    )]
    LostEntries {
        /// The group.
        group: GroupId,
        /// The leader.
        from: u64,
        /// The commit index in its heartbeat.
        commit: u64,
        /// Last index of the log.
        last_index: u64,
    },
    /// The payload of an entry was not written by this adapter.
    #[error("group {group}: entry {index} is not one of the core's")]
    Entry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The state machine failed; the entry in question counts as not applied.
    #[error("the state machine failed: {0}")]
    Host(Arc<dyn std::error::Error + Send + Sync>),

    /// A snapshot could not be installed, or is of another group.
    #[error(transparent)]
    Snapshots(#[from] SnapshotsError),
    /// The engine or its log failed. Only [`Error::is_no_space`] leaves the pump running.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What is wrong with a snapshot's message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// Index or term is not one that a snapshot can have.
    #[error("no snapshot has index {index} and term {term}")]
    Entry {
        /// The index named.
        index: u64,
        /// The term named.
        term: u64,
    },
    /// Its data is not an offer.
    #[error("its data is no offer: {0}")]
    Offer(format::Fault),
    /// The offer is for another snapshot than the message speaks of.
    #[error("its offer is for another snapshot")]
    Another,
    /// Its members cannot be those of a group, or are not those in the snapshot.
    #[error("its members are not sound")]
    Members,
}

/// What is wrong with the entries of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendFault {
    /// An entry does not follow the one before it.
    #[error("entry {found} comes after entry {before}")]
    Index {
        /// Index of the entry before, or of the one that the message names.
        before: u64,
        /// Index found.
        found: u64,
    },
    /// The term of an entry is below that of the entry before it, or above the message's.
    #[error("entry {index} has term {found}, which is not within {min}..={max}")]
    Term {
        /// Index of the entry.
        index: u64,
        /// Its term.
        found: u64,
        /// Term of the entry before.
        min: u64,
        /// Term of the message.
        max: u64,
    },
}

impl Error {
    /// Whether the disk was full, or the process had no file descriptor left. Nothing is lost: the same call works again
    /// once there is space, or a descriptor.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Engine(EngineError::Log(error)) if error.is_back_pressure())
    }
}

impl From<raft::Error> for Error {
    fn from(error: raft::Error) -> Error {
        Error::Core(Arc::new(error))
    }
}
