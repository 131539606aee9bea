//! The error type of this adapter, with its variants sorted by who must act.
//!
//! Errors are cheap to clone, because a stopped pump returns its error again from every later call. Errors of
//! the engine are passed on unchanged. An error that concerns one message or proposal does not stop the pump.

use std::sync::Arc;

use crate::adapters::raft_rs::codec::CodecError;
use crate::error::Error as EngineError;
use crate::snapshots::Error as SnapshotsError;
use crate::snapshots::snap::format;
use crate::types::GroupId;

/// An error of the state machine.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a call of the adapter failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller must act. Nothing happened, and the pump keeps running.
    /// The core refused: a proposal without a leader, a message of an unknown peer, or an invalid config.
    #[error("the core refused: {0}")]
    Core(Arc<raft::Error>),
    /// A snapshot arrived at a pump that has no [`PumpOptions::snapshots`](super::PumpOptions::snapshots).
    #[error("a snapshot from {from}: this pump has no snapshots")]
    Snapshot {
        /// The peer that sent it.
        from: u64,
    },
    /// The message with a snapshot was not made by this adapter, or is damaged. It is dropped.
    #[error("a snapshot from {from}: {fault}")]
    SnapshotMessage {
        /// The peer that sent it.
        from: u64,
        /// The fault in it.
        fault: SnapshotFault,
    },
    /// The entries in an append of a peer are not consecutive. It is dropped. The message was not made by a
    /// Raft core, or was damaged in transit.
    #[error("an append from {from} was dropped: {fault}; check what carries the messages")]
    Append {
        /// The peer that sent it.
        from: u64,
        /// The fault in it.
        fault: AppendFault,
    },
    /// Compaction was requested beyond what the snapshots cover under their options.
    #[error("index {index} is not covered by snapshots, {floor} is")]
    NotCovered {
        /// The index that was requested.
        index: u64,
        /// Highest index up to which the log may be compacted; 0 if it may not be compacted at all.
        floor: u64,
    },
    /// The group already has entries or members, or the given members cannot start a group.
    #[error("group {group} cannot be bootstrapped: {reason}")]
    Bootstrap {
        /// The group.
        group: GroupId,
        /// The reason.
        reason: &'static str,
    },
    /// The group has no members. Call [`GroupStorage::bootstrap`](super::GroupStorage::bootstrap) for a new
    /// group, or [`GroupStorage::join`](super::GroupStorage::join) to join an existing one.
    #[error("group {group} has no members: bootstrap it, or let this node join it")]
    NoMembers {
        /// The group.
        group: GroupId,
    },
    /// A proposal to a pump that is being stopped. Propose it to the next leader.
    #[error("this node is being stopped: propose to another member")]
    Stopping,
    /// Nobody answered in time, or the node ended. A proposal may still be committed; a read may be repeated.
    #[error("no answer: there is no leader, or the node has ended")]
    NoAnswer,
    /// The directory of a node cannot be created.
    #[error("{path} cannot be created: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// The reason.
        source: Arc<std::io::Error>,
    },
    /// A joining node gets the members with a snapshot, but
    /// [`PumpOptions::snapshots`](super::PumpOptions::snapshots) is `None`.
    #[error("a node that joins group {group} gets the members with a snapshot: give the pump snapshots")]
    JoinNeedsSnapshots {
        /// The group.
        group: GroupId,
    },
    /// `readys_max` of [`PumpOptions`](super::PumpOptions) is 0.
    #[error("option readys_max is 0; it must be at least 1")]
    NoReadys,
    /// `entry_bytes_max` of [`PumpOptions`](super::PumpOptions) exceeds what a record of this log can hold.
    #[error(
        "option entry_bytes_max is {value}; a record of this log holds at most {max}: make its segments larger, or agree \
         on less in the whole group"
    )]
    EntryLimit {
        /// The option's value.
        value: usize,
        /// Maximum size of context and data that a record can hold, in bytes.
        max: usize,
    },
    /// Compaction was requested beyond the applied index.
    #[error("index {index} is not applied yet, {applied} is")]
    NotApplied {
        /// The index that was requested.
        index: u64,
        /// The last index applied.
        applied: u64,
    },

    // The operator must act: the state machine and the log do not belong together, or the log is damaged.
    /// The applied index is before the start of the log or after its end, so entries are missing.
    #[error("applied index {applied} does not lie between the compaction point {point} and {last_index}")]
    Applied {
        /// `Config::applied`, the applied index of the state machine.
        applied: u64,
        /// Index of the compaction point.
        point: u64,
        /// Last index of the log.
        last_index: u64,
    },
    /// The leader knows entries as acknowledged by this node that its log does not have: the log lost its end,
    /// or was replaced by an older copy. The pump stops and sends nothing any more, because a node that votes
    /// without those entries could help to elect a leader that lacks committed ones. Other groups keep running.
    ///
    /// Remove the member from the group, and add it again with a new id and an empty log.
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
    /// This adapter did not write the payload of an entry.
    #[error("group {group}: entry {index} is not one of the core's")]
    Entry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// The fault in it.
        source: CodecError,
    },
    /// The state machine failed; the entry in question counts as not applied.
    #[error("the state machine failed: {0}")]
    Host(Arc<dyn std::error::Error + Send + Sync>),

    /// A snapshot could not be installed, or belongs to another group.
    #[error(transparent)]
    Snapshots(#[from] SnapshotsError),
    /// The engine or its log failed. The pump keeps running only if [`Error::is_back_pressure`] returns true.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Reasons why the message of a snapshot is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// No snapshot can have this index and term.
    #[error("no snapshot has index {index} and term {term}")]
    Entry {
        /// The index found.
        index: u64,
        /// The term found.
        term: u64,
    },
    /// The data of the message is not an offer.
    #[error("its data is no offer: {0}")]
    Offer(format::Fault),
    /// The offer is for another snapshot than the message.
    #[error("its offer is for another snapshot")]
    Another,
    /// The members cannot be those of a group, or differ from the members in the snapshot.
    #[error("its members are not sound")]
    Members,
}

/// Faults of the entries of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendFault {
    /// An entry does not directly follow the one before it.
    #[error("entry {found} comes after entry {before}")]
    Index {
        /// Index of the previous entry, or of the entry that the message names as its predecessor.
        before: u64,
        /// The index found.
        found: u64,
    },
    /// The term of an entry is lower than that of the previous entry, or higher than that of the message.
    #[error("entry {index} has term {found}, which is not within {min}..={max}")]
    Term {
        /// Index of the entry.
        index: u64,
        /// The term found.
        found: u64,
        /// Term of the previous entry.
        min: u64,
        /// Term of the message.
        max: u64,
    },
}

impl Error {
    /// Whether the disk was full. Nothing is lost; the same call succeeds once there is space.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Engine(error) if error.is_no_space())
    }

    /// Whether the call failed only for the moment: the disk was full, or the process had no file descriptor left. The
    /// pump keeps running.
    pub fn is_back_pressure(&self) -> bool {
        matches!(self, Error::Engine(error) if error.is_back_pressure())
    }

    /// Whether stored data is damaged or missing, so that it is needed from another node.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Engine(error) => error.is_damage(),
            Error::Snapshots(error) => error.is_damage(),
            Error::LostEntries { .. } | Error::Entry { .. } => true,
            _ => false,
        }
    }
}

impl From<raft::Error> for Error {
    fn from(error: raft::Error) -> Error {
        Error::Core(Arc::new(error))
    }
}
