//! The error type of `walinspect` and its exit codes.
//!
//! A damaged log is a result, not a failure. A log that cannot even be inspected because its identity is damaged is
//! both.

use seawall_wal::Error;
use seawall_wal::inspect::SEGMENTS_WITHOUT_IDENTITY;
use std::io;

/// Exit code if the command could not be carried out for a reason other than damage.
pub(crate) const COULD_NOT: u8 = 1;
/// Exit code of damage.
pub(crate) const DAMAGED: u8 = 2;

/// Reason why there is no verdict.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command could not be carried out.
    CouldNot(String),
    /// The log's identity is damaged, without which the log cannot be read.
    Damaged(String),
    /// A file disappeared between listing and opening: the log is being written, so the inspection is repeated.
    Moved(String),
    /// The reader of the output has closed it.
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

    /// The message for stderr; `None` if there is nothing to report.
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
