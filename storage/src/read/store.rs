//! The parts of an open engine that its reads and writes work on.

use seawall_wal::Wal;

use super::buffers::Buffers;
use super::entry_cache::EntryCache;
use crate::compression::Compressor;
use crate::group::{Groups, SegmentUsage};

/// The log, the groups in memory, the segments' usage, and what payloads pass through.
#[derive(Clone, Copy)]
pub(crate) struct Store<'a> {
    pub(crate) wal: &'a Wal,
    pub(crate) groups: &'a Groups,
    pub(crate) usage: &'a SegmentUsage,
    pub(crate) cache: &'a EntryCache,
    /// Buffers for payloads that are read.
    pub(crate) buffers: &'a Buffers,
    pub(crate) compressor: &'a Compressor,
}
