//! Events of an open engine, for monitoring.

use crate::error::Error;

/// Receives events of the log and of the engine's background work on it.
///
/// A method is called on the thread that caused the event, which may hold locks of the engine. It must not wait for the
/// engine: [`Engine::close`](crate::Engine::close) from inside a method fails with [`Error::InsideCall`].
pub trait Listener: seawall_wal::Listener {
    /// `segment` cannot be emptied because of `error`, which is [`Error::DamagedEntry`] or
    /// [`Error::UnreadableEntry`]. This segment and all later ones are kept until the entry is compacted,
    /// overwritten, removed with its group, or readable again. Called once for each entry that
    /// [`RewriteStats::stuck`](crate::stats::RewriteStats::stuck) names.
    fn segment_stuck(&self, segment: u32, error: &Error) {
        let _ = (segment, error);
    }
}

/// Emits each event through `tracing`, with the target `seawall`.
#[cfg(feature = "tracing")]
impl Listener for seawall_wal::Tracing {
    fn segment_stuck(&self, segment: u32, error: &Error) {
        tracing::warn!(target: "seawall", segment, %error, "segment cannot be emptied");
    }
}
