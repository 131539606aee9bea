//! The one error type, sorted by who must act. Cloneable: a writer gives its first failure to every later call.

use crate::format::Fault;
use crate::options::OutOfRange;
use crate::types::SnapshotId;
use seawall_wal::disk::is_no_room;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Where in a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FilePart {
    /// Header, conf state, metadata.
    Opening,
    /// A chunk, by its number from 0.
    Chunk(u32),
    /// The trailer.
    Trailer,
    /// The whole of it.
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
    // The caller:
    /// An option outside its limits.
    #[error("option {option}: {value} is not within {min}..={max}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: i64,
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
    },
    /// What is to be written does not fit the format; nothing was written.
    #[error("{id}: {fault}")]
    Invalid {
        /// The snapshot.
        id: SnapshotId,
        /// What does not fit.
        fault: Fault,
    },
    /// There is a snapshot of this name already.
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
    /// A chunk behind the last one.
    #[error("{file}: chunk {chunk}, and there are {count}")]
    NoChunk {
        /// Path of the file.
        file: String,
        /// The chunk asked for.
        chunk: u32,
        /// Number of chunks.
        count: u32,
    },
    /// The progress callback said so.
    #[error("{file}: cancelled")]
    Cancelled {
        /// Path of the file.
        file: String,
    },
    /// An earlier call failed; only giving up is left.
    #[error("stopped: {cause}")]
    Stopped {
        /// The first failure.
        cause: Arc<Error>,
    },

    // Who runs the machine:
    /// Another catalog has the directory.
    #[error("{path}: locked by {holder}")]
    Locked {
        /// The directory.
        path: String,
        /// What the holder says of itself.
        holder: String,
    },
    /// The disk was opened for direct writes; snapshots end on any byte, so they need a buffered one.
    #[error("{path}: opened for direct writes, snapshots need buffered ones")]
    DirectDisk {
        /// The directory.
        path: String,
    },
    /// A name of the catalog belongs to something that is not a regular file, such as a symbolic link.
    #[error("{path}/{file}: not a regular file")]
    NotAFile {
        /// The directory.
        path: String,
        /// The name in it.
        file: String,
    },
    /// A snapshot that another version of the format wrote. It stays where it is.
    #[error("{file}: snapshot version {found}, not supported by this build")]
    Version {
        /// Path of the file.
        file: String,
        /// The version named.
        found: u32,
    },
    /// The operating system refused.
    #[error("{file}: {action}: {source}")]
    Io {
        /// What was to be done.
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

    // Whoever has another copy:
    /// Bytes of a snapshot are not what was written.
    #[error("{file}: {place}: {fault}")]
    Damaged {
        /// Path of the file.
        file: String,
        /// Where in it.
        place: FilePart,
        /// What is wrong.
        fault: Fault,
    },
    /// The newest snapshots are damaged, and the log does not go back to the next older one.
    #[error("{path}: {damaged} is damaged, and the log does not go back to {older}")]
    Gap {
        /// The directory.
        path: String,
        /// The newest damaged snapshot.
        damaged: SnapshotId,
        /// The newest that checks.
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

    // The sender:
    /// What a sender offers is refused; nothing was written.
    #[error("{path}: offer of {id}: {fault}")]
    Offer {
        /// The directory.
        path: String,
        /// The snapshot offered.
        id: SnapshotId,
        /// Why.
        fault: OfferFault,
    },
    /// A piece is refused. The transfer stays as it was: the right piece may follow.
    #[error("{file}: piece {number}: {fault}")]
    Piece {
        /// Path of the file being received.
        file: String,
        /// Number of the piece.
        number: u32,
        /// Why.
        fault: PieceFault,
    },
}

/// Why an offer is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferFault {
    /// Its numbers do not agree with each other, or with the format.
    #[error("{0}")]
    Format(#[from] Fault),
    /// Larger than [`Options::receive_bytes_max`](crate::Options::receive_bytes_max).
    #[error("{bytes} bytes, at most {max} are accepted")]
    TooLarge {
        /// Bytes of the file.
        bytes: u64,
        /// Most that is accepted.
        max: u64,
    },
    /// Larger than what transfers may use of the free space.
    #[error(
        "{bytes} bytes are to be written and {free} may be: free space less receive_spare_bytes and other transfers"
    )]
    NoSpace {
        /// Bytes still to be written.
        bytes: u64,
        /// Bytes that are free, less [`Options::receive_spare_bytes`](crate::Options::receive_spare_bytes) and what other
        /// transfers under way still have to write.
        free: u64,
    },
}

/// Why a piece is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PieceFault {
    /// It belongs to another transfer.
    #[error("of another transfer")]
    Foreign,
    /// Another piece is next.
    #[error("piece {expected} is next")]
    Order {
        /// Number of the piece that is next.
        expected: u32,
    },
    /// It claims another place in the file.
    #[error("at {found}, and {expected} is next")]
    Offset {
        /// Offset at which the file goes on.
        expected: u64,
        /// Offset claimed.
        found: u64,
    },
    /// Its bytes are not what they have to be.
    #[error("{0}")]
    Bytes(#[from] Fault),
    /// Pieces are missing.
    #[error("the transfer is not complete")]
    Incomplete,
}

/// Errors of the device that mean bytes which cannot be read: EIO, EBADMSG, EUCLEAN.
const UNREADABLE: [i32; 3] = [5, 74, 117];

impl Error {
    pub(crate) fn io(action: &'static str, file: impl Into<String>, source: io::Error) -> Error {
        Error::Io { action, file: file.into(), source: Arc::new(source) }
    }

    /// Whether a file is not what was written, and another copy or an older snapshot has to serve.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Damaged { .. } => true,
            Error::Stopped { cause } => cause.is_damage(),
            _ => false,
        }
    }

    /// Whether the file system is full, or a quota used up. What was begun is gone, and its space with it.
    pub fn is_full(&self) -> bool {
        match self {
            Error::Io { source, .. } => is_no_room(source),
            Error::Offer { fault: OfferFault::NoSpace { .. }, .. } => true,
            Error::Stopped { cause } => cause.is_full(),
            _ => false,
        }
    }

    /// As an error of `std::io`, which keeps this one inside.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Error::Io { source, .. } => source.kind(),
            Error::Damaged { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}

impl From<OutOfRange> for Error {
    fn from(OutOfRange { option, value, min, max }: OutOfRange) -> Error {
        Error::Option { option, value, min, max }
    }
}

/// A file, for messages.
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

    /// A failed read. What the device cannot read is damage: another copy has to serve.
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
