//! The one error type, sorted by who must act. Cloneable, since one failure answers every waiter.

use crate::damage::Damage;
use crate::disk::no_descriptors;
use crate::format::IdentityFault;
use crate::options::OutOfRange;
use crate::types::Lsn;
use std::io;
use std::sync::Arc;

/// Why a call of the log failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller:
    /// An option outside its range.
    #[error("option {}: {} is not within {}..={}", .0.option, .0.value, .0.min, .0.max)]
    OptionOutOfRange(OutOfRange),
    /// A record larger than a segment of this log can hold; nothing was written.
    #[error("record of {bytes} bytes; a segment of this log holds at most {max}")]
    RecordTooLarge {
        /// Size of the record with its share of the footer.
        bytes: usize,
        /// Largest that fits.
        max: usize,
    },
    /// No byte of the log is at this position: released, or never written.
    #[error("position {lsn} is not in the log")]
    NotInLog {
        /// The position asked for.
        lsn: Lsn,
    },
    /// The log was opened to be read only ([`OpenMode::Salvage`](crate::OpenMode::Salvage)).
    #[error("the log is open for reading only")]
    ReadOnly,
    /// The call would have waited: for room in the queue, for the next segment, or for callbacks to return
    /// ([`Wal::append_now`](crate::Wal::append_now)); nothing was enqueued.
    #[error("the log has no room at the moment")]
    WouldWait,
    /// A callback appended while twice as many callbacks and futures were outstanding as
    /// [`Options::answers_max`](crate::Options::answers_max) allows; nothing was enqueued. It cannot wait for the
    /// others, which run when it returns.
    #[error(
        "{count} callbacks and futures of the log are outstanding, twice what answers_max ({max}) allows: \
             return from the callback before it appends more"
    )]
    AnswersFull {
        /// How many are outstanding.
        count: usize,
        /// The option.
        max: usize,
    },
    /// The log was closed, or dropped while the caller waited.
    #[error("the log is closed")]
    Closed,

    // Who runs the machine:
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
        /// What is there instead.
        found: &'static str,
    },
    /// `create` was called on a directory that holds a log, or what is left of one.
    #[error("{path}: already holds a log ({found})")]
    AlreadyALog {
        /// The directory.
        path: String,
        /// What is there.
        found: String,
    },
    /// Another process has the log open.
    #[error("{path}: locked by {holder}")]
    Locked {
        /// The directory.
        path: String,
        /// What the holder says of itself.
        holder: String,
    },
    /// A file of the log was written by another version of the format.
    #[error("{path}/{file}: format version {found}; this build supports version {supported}")]
    UnsupportedVersion {
        /// The directory.
        path: String,
        /// The file in it.
        file: String,
        /// The version that the file names.
        found: u32,
        /// The version that is supported.
        supported: u32,
    },
    /// The log uses features that this version does not know.
    #[error("{path}/{file}: unknown feature bits {bits:#x}")]
    UnsupportedFeatures {
        /// The directory.
        path: String,
        /// The file in it.
        file: String,
        /// The bits that are not known.
        bits: u64,
    },
    /// The log has smaller blocks than its disk can write without touching their neighbours: it was made on another
    /// disk. Nothing was changed.
    #[error(
        "{path}: the log has blocks of {log} bytes, and this disk writes no less than {disk} at a time; move the log \
         back, or start a new one here"
    )]
    BlockSize {
        /// The directory.
        path: String,
        /// Bytes of a block of the log.
        log: u32,
        /// Bytes of a block of the disk.
        disk: u32,
    },
    /// A name of the log belongs to something that is not a regular file, such as a symbolic link.
    #[error("{path}/{file}: not a regular file")]
    NotAFile {
        /// The directory.
        path: String,
        /// The name in it.
        file: String,
    },
    /// The next segment cannot be prepared: the file system is full. Nothing was enqueued; the call may
    /// be repeated when there is space.
    #[error("{path}: no space for the next segment")]
    NoSpace {
        /// The directory.
        path: String,
    },
    /// A file could not be opened: the process or the system has no file descriptor left (EMFILE, ENFILE). Nothing
    /// was enqueued or changed; the call may be repeated when there are some.
    #[error(
        "{path}/{file}: no file descriptor left; close others or raise the limit (ulimit -n), then try again"
    )]
    NoDescriptors {
        /// The directory.
        path: String,
        /// The file in it.
        file: String,
    },

    // Whoever can restore the data:
    /// The identity file is damaged.
    #[error("{path}/IDENTITY: damaged ({fault:?})")]
    Identity {
        /// The directory.
        path: String,
        /// What is wrong.
        fault: IdentityFault,
    },
    /// Acknowledged bytes are damaged or missing. Nothing was changed.
    #[error("{path}: {}", describe(.damage))]
    Corrupt {
        /// The directory.
        path: String,
        /// Every damaged range.
        damage: Arc<[Damage]>,
    },

    // The operating system:
    /// A system call failed.
    #[error("{path}/{file}: {action}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The directory.
        path: String,
        /// The file in it; empty for the directory itself.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed. Nothing has been acknowledged since; reopen the log.
    #[error("the log stopped: {cause}")]
    Latched {
        /// The first failure.
        cause: Arc<Error>,
    },
}

impl Error {
    /// Whether the log goes on all the same, and the call may be repeated: there was no room on the disk or no file
    /// descriptor. Nothing was enqueued.
    pub fn is_back_pressure(&self) -> bool {
        matches!(self, Error::NoSpace { .. } | Error::NoDescriptors { .. })
    }

    /// A file that could not be opened, or could not be read because it had to be opened first.
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

    /// A failed system call.
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
