//! Every way the log stores can fail, sorted by who must act.
//! Place on the data's way: returned by opening a store; inside what the core's traits return, as the source.
//! Invariants: cheap to clone, since one failure answers many callbacks; names the group. An openraft core
//! stops at the first error of its store, whatever it is. The engine's errors come through unchanged.

use std::io;

use crate::adapters::openraft::codec::CodecError;
use crate::error::Error as EngineError;
use crate::types::GroupId;

/// The result of the stores' calls.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a call of a log store failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller:
    /// The group's number is 2^63 - 1 or above: those from 2^63 on hold votes, and the vote of 2^63 - 1 would be in the
    /// engine's own group.
    #[error("group {group}: a log has a number below 2^63 - 1, since those from 2^63 on are for votes")]
    GroupNumber {
        /// The number.
        group: GroupId,
    },
    /// The engine has a `Logs` already: it may be cloned, and a second one is not made before the first, its clones and
    /// their stores are dropped.
    #[error("this engine has openraft logs already; clone that `Logs`, or drop it and its stores first")]
    LogsExist,
    /// The group's store is open: there is one writer at a time.
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
        /// Why.
        source: CodecError,
    },
    /// An index that no log can reach.
    #[error("group {group}: index {index} is out of range")]
    IndexRange {
        /// The group.
        group: GroupId,
        /// The core's index.
        index: u64,
    },

    // The operator: what is stored does not fit the application, or each other.
    /// The payload of an entry is not an entry of this application.
    #[error("group {group}: entry {index} cannot be read as an entry of this application")]
    Entry {
        /// The group.
        group: GroupId,
        /// The core's index of the entry.
        index: u64,
        /// Why.
        source: CodecError,
    },
    /// An entry says that it is another one.
    #[error("group {group}: entry {index} says that its index is {found}")]
    Misplaced {
        /// The group.
        group: GroupId,
        /// The core's index that it lies at.
        index: u64,
        /// The index in it.
        found: u64,
    },
    /// The record of vote and purged log id cannot be read, or cannot be written if it is new.
    #[error("group {group}: the record of its vote")]
    State {
        /// The group.
        group: GroupId,
        /// Why.
        source: CodecError,
    },
    /// The log starts before the end of what was purged from it.
    #[error("group {group}: purged up to {purged}, but its log starts at {first}")]
    Purged {
        /// The group.
        group: GroupId,
        /// Index of the last entry purged.
        purged: u64,
        /// Index of the first entry there.
        first: u64,
    },

    /// What was to be done is gone: the thread that had it panicked.
    #[error("the work was dropped before it was done")]
    Dropped,
    /// The engine or its log failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Error {
    /// Whether the disk was full, or the process had no file descriptor left: nothing was written, and a core that is
    /// started again on the same engine goes on once there is space, or a descriptor.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Engine(EngineError::Log(error)) if error.is_back_pressure())
    }
}

impl From<seawall_wal::Error> for Error {
    fn from(error: seawall_wal::Error) -> Error {
        Error::Engine(EngineError::Log(error))
    }
}

impl From<Error> for io::Error {
    /// The core's callbacks speak in these; the kind is a hint, the error itself is inside.
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            error if error.is_no_space() => io::ErrorKind::StorageFull,
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
