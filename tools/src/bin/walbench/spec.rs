//! What a row measures: what is appended to, by whom, and how.

use crate::args::Load;
use seawall_wal::disk::Mode;
use serde::Serialize;

/// What is appended to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// Raw durable writes.
    Floor,
    /// A group commit without a log around it.
    Bare,
    /// The log.
    Log,
}

/// What one row measures.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Spec {
    pub(crate) what: What,
    pub(crate) load: Load,
    /// Payload of one append.
    pub(crate) bytes: usize,
    /// Absent where it is 1 by the load's meaning, as is `in_flight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<usize>,
    pub(crate) strategy: &'static str,
    pub(crate) backend: &'static str,
    pub(crate) segment_bytes: u32,
}

/// The strategy that writes in `mode`, as options name it.
pub(crate) fn strategy_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Direct => "direct",
        Mode::Buffered => "sync",
    }
}
