//! The openraft logs of one engine: what they share.
//! Place on the data's way: made once per engine; each store takes a handle. Invariants: one writer per
//! group at a time. Fails: for a second one of an engine, and for a group that is open.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::adapters::openraft::error::{Error, Result};
use crate::adapters::openraft::log::blocking::BlockingPool;
use crate::engine::Engine;
use crate::types::{GroupId, OPENRAFT_STATE_GROUPS};

/// Options of the logs of one engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOptions {
    /// Threads for what may wait: reads that memory does not answer, and writes while the log's queue is full.
    /// Started when first needed; default 2. With 0 the caller's thread waits: for tests that step the log.
    pub threads: usize,
    /// Bytes of stored entries after which a read that may be cut short takes no further one, at least one
    /// entry whatever its size; default 1 MiB. Bounds what is read for one message to a follower.
    pub read_bytes_max: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { threads: 2, read_bytes_max: 1 << 20 }
    }
}

/// The openraft logs of one engine. Cloning gives another handle of the same.
///
/// Any number of groups; they share the engine's log, its flushes and a few threads. The engine is closed by
/// its owner, when the cores are shut down: it makes everything durable and answers every callback.
#[derive(Clone)]
pub struct LogStores(Arc<Shared>);

struct Shared {
    engine: Engine,
    hands: BlockingPool,
    options: LogOptions,
    open: Mutex<HashSet<GroupId>>,
}

impl LogStores {
    /// The logs of `engine`. There is one `Logs` per engine at a time, with all its clones, because it knows which groups
    /// are open: with two of them a group could get two writers.
    ///
    /// # Errors
    /// [`Error::LogsExist`] as long as another `Logs` of this engine, or a store that was opened with it, is there.
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

    /// Takes the right to write group `group`, and says where its vote is.
    pub(super) fn lease(&self, group: GroupId) -> Result<GroupLease> {
        // The vote of the last number below would be in the engine's own group.
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
        f.debug_struct("Logs").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// The right to write a group, given back when it is dropped.
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
