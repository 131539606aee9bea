//! The error type of this crate, with its variants sorted by who must act. Errors can be cloned, because a
//! writer returns its first error from every later call.

use crate::format::Fault;
use crate::types::SnapshotId;
use seawall_disk::{OutOfRange, is_no_room};
use std::fmt;
use std::io;
use std::sync::Arc;

/// A part of a snapshot's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FilePart {
    /// Header, conf state, metadata.
    Opening,
    /// A chunk, by its number from 0.
    Chunk(u32),
    /// The trailer.
    Trailer,
    /// The whole file.
    Whole,
}

impl fmt::Display for FilePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilePart::Opening => f.write_str("opening"),
            FilePart::Chunk(n) => write!(f, "chunk {n}"),
            FilePart::Trailer => f.write_str("trailer"),
            FilePart::Whole => f.write_str("whole"),
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller must act:
    /// An option is out of range.
    #[error(transparent)]
    OptionOutOfRange(#[from] OutOfRange),
    /// The content to write does not fit the format; nothing was written.
    #[error("{id}: {fault}")]
    Invalid {
        /// The snapshot.
        id: SnapshotId,
        /// The reason.
        fault: Fault,
    },
    /// A snapshot of this id already exists.
    #[error("{path}: there is a snapshot of {id} already")]
    Exists {
        /// The directory.
        path: String,
        /// The snapshot.
        id: SnapshotId,
    },
    /// The snapshot is being written, received or read, or another transfer to its group is running.
    #[error("{path}: {id} is in use")]
    Busy {
        /// The directory.
        path: String,
        /// The snapshot.
        id: SnapshotId,
    },
    /// There is no such snapshot.
    #[error("{path}: no snapshot of {id}")]
    Unknown {
        /// The directory.
        path: String,
        /// The snapshot.
        id: SnapshotId,
    },
    /// The chunk does not exist.
    #[error("{file}: chunk {chunk}, and there are {count}")]
    NoChunk {
        /// Path of the file.
        file: String,
        /// The chunk that was requested.
        chunk: u32,
        /// Number of chunks.
        count: u32,
    },
    /// The progress callback cancelled the call.
    #[error("{file}: cancelled")]
    Cancelled {
        /// Path of the file.
        file: String,
    },
    /// An earlier call failed; the only thing left is to drop the value.
    #[error("stopped: {cause}")]
    Stopped {
        /// The first failure.
        cause: Arc<Error>,
    },

    // The operator must act:
    /// Another catalog has the directory open.
    #[error("{path}: locked by {holder}")]
    Locked {
        /// The directory.
        path: String,
        /// The holder's description of itself.
        holder: String,
    },
    /// The disk uses direct writes. Snapshots end at any byte, so they need a buffered disk.
    #[error("{path}: opened for direct writes, snapshots need buffered ones")]
    DirectDisk {
        /// The directory.
        path: String,
    },
    /// A name of the catalog belongs to something other than a regular file, such as a symbolic link.
    #[error("{path}/{file}: not a regular file")]
    NotAFile {
        /// The directory.
        path: String,
        /// The name in it.
        file: String,
    },
    /// Another version of the format wrote the snapshot. The file stays where it is.
    #[error("{file}: snapshot version {found}, not supported by this build")]
    Version {
        /// Path of the file.
        file: String,
        /// The version found.
        found: u32,
    },
    /// The operating system returned an error.
    #[error("{file}: {action}: {source}")]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// Path of the file or directory.
        file: String,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// A helper thread ended before its work did.
    #[error("{file}: a helper thread ended early")]
    Helper {
        /// Path of the file.
        file: String,
    },

    // The operator must act, with another copy of the data:
    /// The bytes of a snapshot are not what was written.
    #[error("{file}: {place}: {fault}")]
    Damaged {
        /// Path of the file.
        file: String,
        /// The damaged part.
        place: FilePart,
        /// The reason.
        fault: Fault,
    },
    /// The newest snapshots are damaged, and the log does not reach back to the next older one.
    #[error("{path}: {damaged} is damaged, and the log does not go back to {older}")]
    Gap {
        /// The directory.
        path: String,
        /// The newest damaged snapshot.
        damaged: SnapshotId,
        /// The newest intact snapshot.
        older: SnapshotId,
    },
    /// All snapshots of a group are damaged.
    #[error("{path}: {damaged} is damaged, and there is no older snapshot")]
    NoneLeft {
        /// The directory.
        path: String,
        /// The newest damaged snapshot.
        damaged: SnapshotId,
    },

    // The sender must act:
    /// The offer is refused; nothing was written.
    #[error("{path}: offer of {id}: {fault}")]
    Offer {
        /// The directory.
        path: String,
        /// The snapshot that was offered.
        id: SnapshotId,
        /// The reason.
        fault: OfferFault,
    },
    /// The piece is refused. The transfer is unchanged, and the correct piece may follow.
    #[error("{file}: piece {number}: {fault}")]
    Piece {
        /// Path of the file being received.
        file: String,
        /// Number of the piece.
        number: u32,
        /// The reason.
        fault: PieceFault,
    },
}

/// Why an offer is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferFault {
    /// The numbers in the offer are inconsistent or violate the format.
    #[error("{0}")]
    Format(#[from] Fault),
    /// The file is larger than [`Options::receive_bytes_max`](crate::Options::receive_bytes_max).
    #[error("{bytes} bytes, at most {max} are accepted")]
    TooLarge {
        /// Size of the file, in bytes.
        bytes: u64,
        /// Maximum size that is accepted, in bytes.
        max: u64,
    },
    /// The file needs more than the free space that transfers may use.
    #[error(
        "{bytes} bytes are to be written and {free} may be: free space less receive_spare_bytes and other transfers"
    )]
    NoSpace {
        /// Bytes that still have to be written.
        bytes: u64,
        /// Free bytes, less [`Options::receive_spare_bytes`](crate::Options::receive_spare_bytes) and the bytes
        /// that other transfers in progress still have to write.
        free: u64,
    },
}

/// Why a piece is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PieceFault {
    /// The piece belongs to another transfer.
    #[error("of another transfer")]
    Foreign,
    /// Another piece is next.
    #[error("piece {expected} is next")]
    Order {
        /// Number of the piece that is next.
        expected: u32,
    },
    /// The piece has another offset than the next one.
    #[error("at {found}, and {expected} is next")]
    Offset {
        /// Offset of the next piece, in bytes.
        expected: u64,
        /// Offset in the piece, in bytes.
        found: u64,
    },
    /// The bytes of the piece are wrong.
    #[error("{0}")]
    Bytes(#[from] Fault),
    /// Pieces are missing.
    #[error("the transfer is not complete")]
    Incomplete,
}

/// Operating system errors that mean unreadable data: EIO, EBADMSG, EUCLEAN.
const UNREADABLE: [i32; 3] = [5, 74, 117];

impl Error {
    pub(crate) fn io(action: &'static str, file: impl Into<String>, source: io::Error) -> Error {
        Error::Io { action, file: file.into(), source: Arc::new(source) }
    }

    /// Whether a file is damaged, so that another copy or an older snapshot is needed.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Damaged { .. } => true,
            Error::Stopped { cause } => cause.is_damage(),
            _ => false,
        }
    }

    /// Whether there is no such snapshot.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Unknown { .. })
    }

    /// Whether the directory is open elsewhere, in this process or another one.
    pub fn is_locked(&self) -> bool {
        matches!(self, Error::Locked { .. })
    }

    /// Whether the file system is full or a quota is used up. The unfinished file is removed, which frees its
    /// space.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::Io { source, .. } => is_no_room(source),
            Error::Offer { fault: OfferFault::NoSpace { .. }, .. } => true,
            Error::Stopped { cause } => cause.is_no_space(),
            _ => false,
        }
    }

    /// Converts this into an error of `std::io` that contains it.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Error::Io { source, .. } => source.kind(),
            Error::Damaged { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}

/// Path of a file, for error messages.
#[derive(Clone, Debug)]
pub(crate) struct FileContext(Arc<str>);

impl FileContext {
    pub(crate) fn new(path: &str, name: &str) -> FileContext {
        FileContext(format!("{path}/{name}").into())
    }

    pub(crate) fn file(&self) -> String {
        self.0.to_string()
    }

    pub(crate) fn damaged(&self, place: FilePart, fault: Fault) -> Error {
        match fault {
            Fault::Version { found } => Error::Version { file: self.file(), found },
            fault => Error::Damaged { file: self.file(), place, fault },
        }
    }

    pub(crate) fn io(&self, action: &'static str, source: io::Error) -> Error {
        Error::io(action, self.file(), source)
    }

    /// The error of a failed read. Data that the device cannot read counts as damage: another copy is needed.
    pub(crate) fn read(&self, place: FilePart, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return self.damaged(place, Fault::Counts);
        }
        match source.raw_os_error() {
            Some(number) if UNREADABLE.contains(&number) => self.damaged(place, Fault::Unreadable),
            _ => self.io("read", source),
        }
    }

    pub(crate) fn helper(&self) -> Error {
        Error::Helper { file: self.file() }
    }

    pub(crate) fn cancelled(&self) -> Error {
        Error::Cancelled { file: self.file() }
    }
}
