//! Events of an open log, for monitoring.

use crate::error::Error;
use std::fmt;

/// Receives the events of a log: changes of its segments, and its failure.
///
/// A method is called on the thread that caused the event, at most once per event; unlike a callback of a ticket, it
/// does not run on a thread of its own. That thread does not hold the lock that appends take, but `segment_released` is
/// called under the lock of the preallocator. A slow listener therefore slows the thread that calls it, and appends
/// that need the next segment. A listener must not call into the log.
pub trait Listener: Send + Sync + fmt::Debug {
    /// Appends go to segment `sequence` from now on.
    fn segment_opened(&self, sequence: u32) {
        let _ = sequence;
    }

    /// Segment `sequence` is complete: it takes no more groups, and its last one ends at byte offset `end`.
    fn segment_sealed(&self, sequence: u32, end: u32) {
        let _ = (sequence, end);
    }

    /// The file of segment `sequence` was removed, or waits to be recycled.
    fn segment_released(&self, sequence: u32) {
        let _ = sequence;
    }

    /// The log stopped because of `error` (INV-7). Not called when the log is closed.
    fn latched(&self, error: &Error) {
        let _ = error;
    }
}

/// Emits each event through the `tracing` crate, with the target `seawall`.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

#[cfg(feature = "tracing")]
impl Listener for Tracing {
    fn segment_opened(&self, sequence: u32) {
        tracing::debug!(target: "seawall", sequence, "segment opened");
    }

    fn segment_sealed(&self, sequence: u32, end: u32) {
        tracing::debug!(target: "seawall", sequence, end, "segment sealed");
    }

    fn segment_released(&self, sequence: u32) {
        tracing::debug!(target: "seawall", sequence, "segment released");
    }

    fn latched(&self, error: &Error) {
        tracing::error!(target: "seawall", %error, "log stopped");
    }
}
