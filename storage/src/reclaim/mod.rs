//! Frees segments: writes small state again, copies live entries out of old segments, and releases the segments.

pub(crate) mod release;
pub(crate) mod rewrite;
pub(crate) mod throttle;
