//! Events of an open engine, for whoever watches it.

use crate::error::Error;

/// Told about the life of the log, and about the engine's own work on it.
///
/// Called on the thread that caused the event. Must not wait for the engine; [`Engine::close`](crate::Engine::close) from
/// inside is [`Error::InsideCall`].
pub trait Listener: seawall_wal::Listener {
    /// Segment `segment` cannot be emptied because of `error`, [`Error::DamagedEntry`] or [`Error::UnreadableEntry`]: it and
    /// all later segments stay until that entry is compacted, overwritten or can be read again. Once for each entry that
    /// [`RewriteStats::stuck`](crate::RewriteStats::stuck) names.
    fn segment_stuck(&self, segment: u32, error: &Error) {
        let _ = (segment, error);
    }
}
