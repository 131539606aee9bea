//! Events of an open log, for whoever watches it.

use crate::error::Error;
use std::fmt;

/// Told about the life of segments and of the log itself.
///
/// Called on the thread that caused the event, at most once per event. The thread does not hold the lock that appends
/// take, but `segment_released` is called under the lock of the thread that prepares segments. So a slow listener slows the
/// thread that calls it, and appends that need the next segment. Must not call into the log.
pub trait Listener: Send + Sync + fmt::Debug {
    /// Appends go to segment `sequence` from now on.
    fn segment_opened(&self, sequence: u32) {
        let _ = sequence;
    }

    /// Segment `sequence` takes no more groups; its last one ends at byte `end`.
    fn segment_sealed(&self, sequence: u32, end: u32) {
        let _ = (sequence, end);
    }

    /// The file of segment `sequence` was removed, or waits to be used again.
    fn segment_released(&self, sequence: u32) {
        let _ = sequence;
    }

    /// The log stopped because of `error` (INV-7).
    fn latched(&self, error: &Error) {
        let _ = error;
    }
}

/// Emits each event through the `tracing` crate, target `seawall`.
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
