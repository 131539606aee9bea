//! Describes a row: its target, its load, and how it is written.

use crate::args::Load;
use seawall_wal::disk::Mode;
use serde::Serialize;

/// The target of the appends.
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

/// Description of one row.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Spec {
    pub(crate) what: What,
    pub(crate) load: Load,
    /// Payload of one append, in bytes.
    pub(crate) bytes: usize,
    /// Absent if the load implies 1; so is `in_flight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<usize>,
    pub(crate) strategy: &'static str,
    pub(crate) backend: &'static str,
    pub(crate) segment_bytes: u32,
}

/// Name of the strategy that writes in `mode`, as in the options.
pub(crate) fn strategy_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Direct => "direct",
        Mode::Buffered => "sync",
    }
}
