//! The error type for the snapshots of a group, with its variants sorted by who must act.
//!
//! Errors are cheap to clone, because the result of a background snapshot is kept until it is queried. Errors
//! of the catalog and the engine are passed on unchanged. When
//! [`Snapshots::take`](crate::snapshots::Snapshots::take) or
//! [`Snapshots::install`](crate::snapshots::Snapshots::install) fails, the steps that it completed remain;
//! other failed calls have not changed the log.

use std::io;
use std::sync::Arc;

use seawall_snap::SnapshotId;
use seawall_wal::disk::OutOfRange;

use crate::error::Error as EngineError;
use crate::format::DecodeError;
use crate::types::GroupId;

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller must act:
    /// An option is out of range.
    #[error(transparent)]
    OptionOutOfRange(#[from] OutOfRange),
    /// The snapshot is not newer than the compaction point and the newest snapshot of the log, so there is
    /// nothing to take or install.
    #[error("{id} is out of date: there is one at {newest}")]
    OutOfDate {
        /// The snapshot.
        id: SnapshotId,
        /// Index of the newest snapshot, or of the compaction point.
        newest: u64,
    },
    /// The snapshot was not received and verified on this node.
    #[error("{id} was not received and verified")]
    NotHere {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The snapshot belongs to another group.
    #[error("{id} is not one of group {group}")]
    OtherGroup {
        /// The group.
        group: GroupId,
        /// The snapshot.
        id: SnapshotId,
    },
    /// A snapshot of the group is already being taken.
    #[error("group {group}: a snapshot is being taken")]
    Busy {
        /// The group.
        group: GroupId,
    },
    /// An entry after the snapshot's index made the current members, so the members at the snapshot are
    /// unknown. After a restart the state machine has to catch up first.
    #[error("group {group}: the members are those of entry {members}, behind {index}")]
    MembersAhead {
        /// The group.
        group: GroupId,
        /// The index that was requested.
        index: u64,
        /// Index of the entry that made the members.
        members: u64,
    },
    /// A newer snapshot was installed or taken in the meantime, so this one is not needed any more.
    #[error("{id} was overtaken by another snapshot")]
    Overtaken {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The state machine failed to write its state.
    #[error("{id}: the state machine failed: {source}")]
    Content {
        /// The snapshot that was not taken.
        id: SnapshotId,
        /// The error of the state machine.
        source: Arc<io::Error>,
    },
    /// The thread that took the snapshot ended early because the state machine panicked.
    #[error("group {group}: no thread: {source}")]
    Thread {
        /// The group.
        group: GroupId,
        /// The cause.
        source: Arc<io::Error>,
    },

    /// The peer cannot send the snapshot: it removed it, or cannot read it. It will offer another one.
    #[error("{id}: the peer cannot send it any more")]
    NotSent {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The connection to a peer failed, or carried something else than a snapshot.
    #[error("the connection to the peer failed: {0}")]
    Stream(Arc<io::Error>),

    // The operator must act, with another copy of the data:
    /// None of the snapshots that the log names can be read, and the log does not start early enough to do
    /// without one. Nothing was changed except the names of damaged files. The node has to get a snapshot from
    /// a peer, like a new node.
    #[error(
        "group {group}: none of the snapshots that the log names is left; the newest is at {newest}, \
         {damaged} are damaged, the log starts behind {point}"
    )]
    NoneLeft {
        /// The group.
        group: GroupId,
        /// Index of the compaction point.
        point: u64,
        /// Index of the newest snapshot that the log names.
        newest: u64,
        /// Number of snapshots that this call found damaged.
        damaged: usize,
    },
    /// The members in a snapshot cannot be decoded.
    #[error("{id}: its members cannot be read: {source}")]
    Members {
        /// The snapshot.
        id: SnapshotId,
        /// The reason.
        source: DecodeError,
    },

    /// The catalog failed, or one of its files is damaged.
    #[error(transparent)]
    Catalog(#[from] seawall_snap::Error),
    /// The engine or its log failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Error {
    /// Whether the disk of the catalog or the log was full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::Catalog(error) => error.is_no_space(),
            Error::Engine(error) => error.is_no_space(),
            _ => false,
        }
    }

    /// Whether the call failed only for the moment: the disk was full, or no file descriptor was left.
    pub fn is_back_pressure(&self) -> bool {
        self.is_no_space() || matches!(self, Error::Engine(error) if error.is_back_pressure())
    }

    /// Whether a snapshot or the log is damaged, so that another copy is needed.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::NoneLeft { .. } | Error::Members { .. } => true,
            Error::Catalog(error) => error.is_damage(),
            Error::Engine(error) => error.is_damage(),
            _ => false,
        }
    }
}

impl From<seawall_wal::Error> for Error {
    fn from(error: seawall_wal::Error) -> Error {
        Error::Engine(EngineError::Log(error))
    }
}
