//! The state that the openraft logs of one engine share.
//!
//! Made once per engine; each store holds a handle. A group has at most one writer at a time.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::adapters::openraft::blocking::BlockingPool;
use crate::adapters::openraft::error::{Error, Result};
use crate::engine::Engine;
use crate::types::{GroupId, OPENRAFT_STATE_GROUPS};

/// Options of the logs of one engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct LogOptions {
    /// Maximum number of threads for calls that may block: reads that memory cannot answer, and writes while
    /// the log's queue is full (default 2). They start when first needed. With 0 the caller's thread blocks, as
    /// required by tests that step the log.
    pub threads: usize,
    /// Limit of a read that may return fewer entries than requested, in bytes of stored entries (default 1
    /// MiB). It returns at least one entry, whatever its size. Bounds what is read for one message to a
    /// follower.
    pub read_bytes_max: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { threads: 2, read_bytes_max: 1 << 20 }
    }
}

seawall_wal::disk::setters!(LogOptions {
    threads: usize => with_threads,
    read_bytes_max: u64 => with_read_bytes_max,
});

/// The openraft logs of one engine. A clone is another handle of the same logs.
///
/// Holds any number of groups, which share the engine's log, its flushes and a few threads. The owner of the
/// engine closes it after the cores are shut down; closing makes everything durable and answers every callback.
#[derive(Clone)]
pub struct LogStores(Arc<Shared>);

struct Shared {
    engine: Engine,
    hands: BlockingPool,
    options: LogOptions,
    open: Mutex<HashSet<GroupId>>,
}

impl LogStores {
    /// Makes the logs of `engine`. An engine has one `LogStores` at a time, including its clones, because it
    /// tracks which groups are open; with two of them, a group could get two writers.
    ///
    /// # Errors
    /// [`Error::LogsExist`] while another `LogStores` of this engine, or a store opened with it, exists.
    pub fn new(engine: &Engine, options: LogOptions) -> Result<LogStores> {
        if !engine.take_openraft() {
            return Err(Error::LogsExist);
        }
        let (hands, open) = (BlockingPool::new(options.threads), Mutex::default());
        Ok(LogStores(Arc::new(Shared { engine: engine.clone(), hands, options, open })))
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn hands(&self) -> &BlockingPool {
        &self.0.hands
    }

    pub(super) fn options(&self) -> &LogOptions {
        &self.0.options
    }

    /// Takes the right to write group `group`; it also gives the id of the group with the vote.
    pub(super) fn lease(&self, group: GroupId) -> Result<GroupLease> {
        // The vote of 2^63 - 1 would use the engine's own group.
        if group >= OPENRAFT_STATE_GROUPS - 1 {
            return Err(Error::GroupNumber { group });
        }
        if !self.0.open.lock().insert(group) {
            return Err(Error::AlreadyOpen { group });
        }
        Ok(GroupLease { logs: self.clone(), group })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.engine.return_openraft();
    }
}

impl fmt::Debug for LogStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStores").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// The right to write a group; returned on drop.
pub(super) struct GroupLease {
    logs: LogStores,
    group: GroupId,
}

impl GroupLease {
    pub(super) fn state_group(&self) -> GroupId {
        self.group | OPENRAFT_STATE_GROUPS
    }
}

impl Drop for GroupLease {
    fn drop(&mut self) {
        self.logs.0.open.lock().remove(&self.group);
    }
}
