//! Why a run of the tool has no verdict, and the exit code for it.
//!
//! Place: the error type of every file here. A log that is damaged is not a failure but a result; only a
//! log that cannot even be looked at because it is damaged is both.

use seawall_wal::Error;
use seawall_wal::inspect::SEGMENTS_WITHOUT_IDENTITY;
use std::io;

/// Exit code if the call could not be carried out, for whatever reason but damage.
pub(crate) const COULD_NOT: u8 = 1;
/// Exit code of damage.
pub(crate) const DAMAGED: u8 = 2;

/// Why there is no verdict.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call could not be carried out.
    CouldNot(String),
    /// The log is damaged where it must be read first: its identity.
    Damaged(String),
    /// A file went away between listing and opening it: the log is being written, look again.
    Moved(String),
    /// The reader of the output is gone.
    NobodyReads,
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Damaged(_) => DAMAGED,
            Failure::CouldNot(_) | Failure::Moved(_) | Failure::NobodyReads => COULD_NOT,
        }
    }

    /// What to say on stderr.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Failure::CouldNot(text) | Failure::Damaged(text) | Failure::Moved(text) => Some(text),
            Failure::NobodyReads => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let text = error.to_string();
        match error {
            Error::Identity { .. } | Error::Corrupt { .. } => Failure::Damaged(text),
            Error::NotALog { found, .. } if found == SEGMENTS_WITHOUT_IDENTITY => Failure::Damaged(text),
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Failure::Moved(text),
            _ => Failure::CouldNot(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::CouldNot(format!("write the report: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        match error.io_error_kind() {
            Some(io::ErrorKind::BrokenPipe) => Failure::NobodyReads,
            _ => Failure::CouldNot(format!("write the report: {error}")),
        }
    }
}
