//! The error type of the crate, sorted by who must act.
//!
//! It can be cloned, since one failure answers every waiter.

use crate::damage::Damage;
use crate::format::{Features, IdentityFault};
use crate::types::Lsn;
use seawall_disk::{OutOfRange, no_descriptors};
use std::io;
use std::sync::Arc;

/// Why a call of the log failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // For the caller:
    /// An option has a value outside its range.
    #[error(transparent)]
    OptionOutOfRange(#[from] OutOfRange),
    /// The record is larger than a segment of this log can hold. Nothing was written.
    #[error("record of {bytes} bytes; a segment of this log holds at most {max}")]
    RecordTooLarge {
        /// Size of the record in bytes, with its share of the footer.
        bytes: usize,
        /// Largest size that fits, in bytes.
        max: usize,
    },
    /// The log has no byte at this position: it was released, or never written.
    #[error("position {lsn} is not in the log")]
    NotInLog {
        /// The requested position.
        lsn: Lsn,
    },
    /// The log was opened for reading only ([`OpenMode::Salvage`](crate::OpenMode::Salvage)).
    #[error("the log is open for reading only")]
    ReadOnly,
    /// [`Wal::try_append`](crate::Wal::try_append) would have to wait: for space in the queue, for the next segment, or
    /// for callbacks to return. Nothing was enqueued.
    #[error("the log has no room at the moment")]
    WouldWait,
    /// A callback appended while twice as many callbacks and futures were outstanding as
    /// [`Options::callbacks_max`](crate::Options::callbacks_max) allows. Nothing was enqueued. The append cannot wait
    /// for the other callbacks, since they run only after this one has returned.
    #[error(
        "{count} callbacks and futures of the log are outstanding, twice the option callbacks_max ({max}): return from the \
         callback before it appends more"
    )]
    CallbacksFull {
        /// How many are outstanding.
        count: usize,
        /// The value of the option.
        max: usize,
    },
    /// The log was closed, or dropped while the caller waited.
    #[error("the log is closed")]
    Closed,

    // For the operator of the machine:
    /// The path is not a directory.
    #[error("{path}: not a directory")]
    NotADirectory {
        /// The path.
        path: String,
    },
    /// The directory holds no log.
    #[error("{path}: no log here ({found})")]
    NotALog {
        /// The directory.
        path: String,
        /// The contents found instead.
        found: &'static str,
    },
    /// `create` was called on a directory that holds a log, or what is left of one.
    #[error("{path}: already holds a log ({found})")]
    AlreadyALog {
        /// The directory.
        path: String,
        /// The file that was found.
        found: String,
    },
    /// Another process has the log open.
    #[error("{path}: locked by {holder}")]
    Locked {
        /// The directory.
        path: String,
        /// Text that the process that holds the lock wrote into the lock file.
        holder: String,
    },
    /// A file of the log has another version of the format.
    #[error("{path}/{file}: format version {found}; this build supports version {supported}")]
    UnsupportedVersion {
        /// The directory.
        path: String,
        /// The file in it.
        file: String,
        /// The version of the file.
        found: u32,
        /// The version that this build supports.
        supported: u32,
    },
    /// The log uses features that this build does not know.
    #[error("{path}/{file}: unknown feature bits {bits:#x}; a newer build of Seawall may know them")]
    UnsupportedFeatures {
        /// The directory.
        path: String,
        /// The file in it.
        file: String,
        /// The unknown feature bits.
        bits: u64,
    },
    /// The log has features that this build reads but does not write. Nothing was changed.
    #[error(
        "{path}/IDENTITY: the log is {features}; this build opens it for reading only (OpenMode::Salvage)"
    )]
    ReadOnlyFeatures {
        /// The directory.
        path: String,
        /// The features.
        features: Features,
    },
    /// The log's blocks are smaller than the smallest unit that this disk can write without touching neighbouring
    /// bytes: the log was created on another disk. Nothing was changed.
    #[error(
        "{path}: the log has blocks of {log} bytes, and this disk writes no less than {disk} at a time; move the log \
         back, or start a new one here"
    )]
    BlockSize {
        /// The directory.
        path: String,
        /// Block size of the log, in bytes.
        log: u32,
        /// Block size of the disk, in bytes.
        disk: u32,
    },
    /// A file name of the log belongs to something that is not a regular file, such as a symbolic link.
    #[error("{path}/{file}: not a regular file")]
    NotAFile {
        /// The directory.
        path: String,
        /// The name in it.
        file: String,
    },
    /// The file system is full, so the next segment cannot be prepared or blocks of the current one cannot be zeroed.
    /// Nothing was enqueued; repeat the call when there is space.
    #[error("{path}: no space for the next segment")]
    NoSpace {
        /// The directory.
        path: String,
    },
    /// A file could not be opened because the process or the system has no file descriptor left (EMFILE, ENFILE).
    /// Nothing was enqueued or changed; repeat the call when descriptors are free.
    #[error(
        "{path}/{file}: no file descriptor left; close others or raise the limit (ulimit -n), then try again"
    )]
    NoDescriptors {
        /// The directory.
        path: String,
        /// The file in it.
        file: String,
    },

    // For the person who restores the data:
    /// The identity file is damaged.
    #[error("{path}/IDENTITY: damaged ({fault:?})")]
    Identity {
        /// The directory.
        path: String,
        /// The fault.
        fault: IdentityFault,
    },
    /// Bytes of the log are damaged, missing, or cannot come from a crash. An open that fails with this has changed
    /// nothing; a read can fail with it too.
    #[error("{path}: {}", describe(.damage))]
    Corrupt {
        /// The directory.
        path: String,
        /// Every damaged range.
        damage: Arc<[Damage]>,
    },

    // From the operating system:
    /// A system call failed.
    #[error("{path}/{file}: {action}: {source}")]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The directory.
        path: String,
        /// The file in it; empty for the directory itself.
        file: String,
        /// The error of the system call.
        source: Arc<io::Error>,
    },
    /// The log has stopped because an earlier write or sync failed (INV-7). It has acknowledged nothing since; reopen
    /// it.
    #[error("the log stopped: {cause}")]
    Latched {
        /// The first failure.
        cause: Arc<Error>,
    },
}

impl Error {
    /// Whether the disk is full. Nothing was enqueued, and the same call succeeds once there is space.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }

    /// Whether the directory does not exist or holds no log.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotALog { .. })
    }

    /// Whether the log is open elsewhere, in this process or another one.
    pub fn is_locked(&self) -> bool {
        matches!(self, Error::Locked { .. })
    }

    /// Whether bytes of the log are damaged or missing, so that they are needed from another node or a backup. A log
    /// that stopped because of damage counts too.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Identity { .. } | Error::Corrupt { .. } => true,
            Error::Latched { cause } => cause.is_damage(),
            _ => false,
        }
    }

    /// Whether this is back-pressure: the disk was full or no file descriptor was left. The log is still running and
    /// nothing was enqueued, so the call may be repeated.
    pub fn is_back_pressure(&self) -> bool {
        matches!(self, Error::NoSpace { .. } | Error::NoDescriptors { .. })
    }

    /// The error for a call that opens `file`, or opens it again to read it: [`Error::NoDescriptors`] or [`Error::Io`].
    pub(crate) fn open(
        action: &'static str,
        path: impl Into<String>,
        file: impl Into<String>,
        source: io::Error,
    ) -> Error {
        if no_descriptors(&source) {
            return Error::NoDescriptors { path: path.into(), file: file.into() };
        }
        Error::io(action, path, file, source)
    }

    /// The error for a failed system call.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<String>,
        file: impl Into<String>,
        source: io::Error,
    ) -> Error {
        Error::Io { action, path: path.into(), file: file.into(), source: Arc::new(source) }
    }
}

fn describe(damage: &[Damage]) -> String {
    let mut text = String::new();
    for (i, d) in damage.iter().take(8).enumerate() {
        let lead = if i == 0 { "" } else { "; " };
        text.push_str(&format!(
            "{lead}{:08x}.wal [{:#x}, {}): {}",
            d.from.segment(),
            d.from.offset(),
            d.to,
            d.what
        ));
    }
    if damage.len() > 8 {
        text.push_str(&format!("; and {} more places", damage.len() - 8));
    }
    text
}
