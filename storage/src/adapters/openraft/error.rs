//! The error type of the log stores, with its variants sorted by who must act.
//!
//! Errors are cheap to clone, because one failure answers many callbacks. They are the source of the errors
//! that the core's traits return; errors of the engine are passed on unchanged. An openraft core stops at the
//! first error of its store, whatever it is.

use std::io;

use crate::adapters::openraft::codec::CodecError;
use crate::error::Error as EngineError;
use crate::types::GroupId;

/// The result of calls in this adapter.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a call of a log store failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller must act:
    /// The group id is 2^63 - 1 or above. Ids from 2^63 on hold votes, and the vote of 2^63 - 1 would use the
    /// engine's own group.
    #[error("group {group}: a log has a number below 2^63 - 1, since those from 2^63 on are for votes")]
    GroupNumber {
        /// The group id.
        group: GroupId,
    },
    /// The engine already has a [`LogStores`](super::stores::LogStores). Clone that one; a second one can be made
    /// only after the first, its clones and their stores are dropped.
    #[error("this engine has openraft logs already; clone that `LogStores`, or drop it and its stores first")]
    LogsExist,
    /// The store of the group is already open; a group has one writer at a time.
    #[error("group {group} is open already")]
    AlreadyOpen {
        /// The group.
        group: GroupId,
    },
    /// An entry cannot be encoded.
    #[error("group {group}: entry {index} cannot be stored")]
    Encode {
        /// The group.
        group: GroupId,
        /// The core's index of the entry.
        index: u64,
        /// The reason.
        source: CodecError,
    },
    /// The index is beyond what a log can hold.
    #[error("group {group}: index {index} is out of range")]
    IndexRange {
        /// The group.
        group: GroupId,
        /// The core's index.
        index: u64,
    },

    // The operator must act: the stored data does not match the application, or is inconsistent.
    /// The payload of an entry is not an entry of this application.
    #[error("group {group}: entry {index} cannot be read as an entry of this application")]
    Entry {
        /// The group.
        group: GroupId,
        /// The core's index of the entry.
        index: u64,
        /// The reason.
        source: CodecError,
    },
    /// An entry states another index than the one that it is stored at.
    #[error("group {group}: entry {index} says that its index is {found}")]
    Misplaced {
        /// The group.
        group: GroupId,
        /// The core's index that the entry is stored at.
        index: u64,
        /// The index that the entry states.
        found: u64,
    },
    /// The record of the vote and the purged log id cannot be decoded, or a new one cannot be encoded.
    #[error("group {group}: the record of its vote")]
    State {
        /// The group.
        group: GroupId,
        /// The reason.
        source: CodecError,
    },
    /// The log starts at or before the last entry that was purged from it.
    #[error("group {group}: purged up to {purged}, but its log starts at {first}")]
    Purged {
        /// The group.
        group: GroupId,
        /// Index of the last entry purged.
        purged: u64,
        /// Index of the first entry there.
        first: u64,
    },

    /// The work was lost: the thread that had it panicked.
    #[error("the work was dropped before it was done")]
    Dropped,
    /// The engine or its log failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Error {
    /// Whether the disk was full, or the process had no file descriptor left. Nothing was written; a core that
    /// is started again on the same engine continues once there is space or a descriptor.
    pub fn is_back_pressure(&self) -> bool {
        matches!(self, Error::Engine(error) if error.is_back_pressure())
    }

    /// Whether the disk was full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Engine(error) if error.is_no_space())
    }
}

impl From<seawall_wal::Error> for Error {
    fn from(error: seawall_wal::Error) -> Error {
        Error::Engine(EngineError::Log(error))
    }
}

impl From<Error> for io::Error {
    /// The error type of the core's callbacks. The kind is a hint; the error itself is inside.
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            error if error.is_back_pressure() => io::ErrorKind::StorageFull,
            Error::Entry { .. } | Error::Misplaced { .. } | Error::State { .. } | Error::Purged { .. } => {
                io::ErrorKind::InvalidData
            }
            Error::Engine(EngineError::DamagedEntry { .. }) => io::ErrorKind::InvalidData,
            Error::GroupNumber { .. } | Error::IndexRange { .. } | Error::Encode { .. } => {
                io::ErrorKind::InvalidInput
            }
            Error::LogsExist | Error::AlreadyOpen { .. } => io::ErrorKind::ResourceBusy,
            Error::Dropped | Error::Engine(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
