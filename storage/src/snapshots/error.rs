//! Every way in which snapshots of a group can fail, sorted by who must act.
//! Place on the data's way: returned by the calls of this module; kept for whoever asks what became of a snapshot that
//! was taken in the background. Invariants: cheap to clone; names group and index. Errors of catalog and engine come
//! through unchanged. None of them has changed the log, unless it says so.

use std::io;
use std::sync::Arc;

use seawall_snap::SnapshotId;

use crate::error::Error as EngineError;
use crate::format::DecodeError;
use crate::types::GroupId;

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller:
    /// An option outside its limits.
    #[error("option {option}: {value} is not within {min}..={max}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// Smallest value allowed.
        min: u64,
        /// Largest value allowed.
        max: u64,
    },
    /// The snapshot does not go beyond what the log starts behind, or beyond its newest snapshot: nothing to install.
    #[error("{id} is out of date: there is one at {newest}")]
    OutOfDate {
        /// The snapshot.
        id: SnapshotId,
        /// Index of the newest snapshot, or of the compaction point.
        newest: u64,
    },
    /// The snapshot was not received and verified here.
    #[error("{id} was not received and verified")]
    NotHere {
        /// The snapshot.
        id: SnapshotId,
    },
    /// A snapshot of another group.
    #[error("{id} is not one of group {group}")]
    OtherGroup {
        /// The group.
        group: GroupId,
        /// The snapshot.
        id: SnapshotId,
    },
    /// A snapshot of the group is being taken at the moment.
    #[error("group {group}: a snapshot is being taken")]
    Busy {
        /// The group.
        group: GroupId,
    },
    /// The members that the log has were made by an entry behind the snapshot's: what they were at the snapshot is not
    /// known. So after a restart the state machine first has to catch up.
    #[error("group {group}: the members are those of entry {members}, behind {index}")]
    MembersAhead {
        /// The group.
        group: GroupId,
        /// The index asked for.
        index: u64,
        /// Index of the entry that made the members.
        members: u64,
    },
    /// Another snapshot got ahead of the one that was taken, which is not needed any more.
    #[error("{id} was overtaken by another snapshot")]
    Overtaken {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The state machine failed to say its state.
    #[error("{id}: the state machine failed: {source}")]
    Content {
        /// The snapshot that is not.
        id: SnapshotId,
        /// What it said.
        source: Arc<io::Error>,
    },
    /// What took the snapshot in the background ended early: the state machine panicked.
    #[error("group {group}: no thread: {source}")]
    Thread {
        /// The group.
        group: GroupId,
        /// What the system said.
        source: Arc<io::Error>,
    },

    // Whoever has another copy:
    /// No snapshot of those that the log names can be read, and without one the log starts too late. Nothing was
    /// changed but the names of damaged files. The node has to get a snapshot from a peer, as a new one does.
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
        /// How many were there and turned out to be damaged, now.
        damaged: usize,
    },
    /// The members in a snapshot are not written as they should be.
    #[error("{id}: its members cannot be read: {source}")]
    Members {
        /// The snapshot.
        id: SnapshotId,
        /// What is wrong.
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
    /// Whether a disk was full, the catalog's or the log's, or the log had no file descriptor.
    pub fn is_full(&self) -> bool {
        match self {
            Error::Catalog(error) => error.is_full(),
            Error::Engine(EngineError::Log(error)) => error.is_back_pressure(),
            _ => false,
        }
    }
}

impl From<seawall_wal::Error> for Error {
    fn from(error: seawall_wal::Error) -> Error {
        Error::Engine(EngineError::Log(error))
    }
}
