//! The state of an engine, shared by its handles and its threads.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use seawall_wal::{Wal, notify::Bell};

use crate::compression::Compressor;
use crate::error::{Error, Result};
use crate::group::{FooterIndexBuilder, Groups, SegmentUsage};
use crate::listener::Listener;
use crate::options::Options;
use crate::owner::OWNER_GROUP;
use crate::read::entry_cache::EntryCache;
use crate::read::readers::Readers;
use crate::read::{Buffers, Store};
use crate::reclaim::release::PrefixRelease;
use crate::reclaim::rewrite::Rewrite;
use crate::reclaim::throttle::Throttle;
use crate::recovery::DamagedRecords;
use crate::threads::background::BackgroundThread;
#[cfg(any(feature = "raft-rs", feature = "snapshots"))]
use crate::threads::task_pool::TaskPool;
use crate::types::GroupId;

pub(super) struct EngineInner {
    /// `None` once the engine is closed. Closing waits for the calls under way.
    pub(super) wal: RwLock<Option<Wal>>,
    /// The groups in memory.
    pub(super) groups: Groups,
    /// Live contents of each segment.
    pub(super) usage: SegmentUsage,
    /// The newest payloads.
    pub(super) cache: EntryCache,
    /// Buffers for payloads that are read from files.
    pub(super) buffers: Buffers,
    /// Compresses payloads in writes and decompresses them in reads.
    pub(super) compressor: Compressor,
    /// [`Options::map_sealed`].
    pub(super) map_sealed: bool,
    /// The pinned readers.
    pub(super) readers: Readers,
    /// Releases the oldest segments, after copying small state out of them.
    pub(super) release: PrefixRelease,
    /// Entries that were found damaged at open, including those that were overwritten or compacted since then.
    pub(super) damaged: DamagedRecords,
    /// Copies live entries out of the oldest segment.
    pub(super) rewrite: Rewrite,
    /// Builds the index of the segment being written. The log calls it for each record.
    pub(super) index_builder: FooterIndexBuilder,
    /// The background thread. Unset in a stepped engine, where each write does a piece of the background work itself.
    pub(super) background: OnceLock<BackgroundThread>,
    /// The segment that was being written when the background thread was last woken.
    pub(super) woken_in: AtomicU32,
    /// A write found the disk full, and no record with a payload has been written since.
    pub(super) full: AtomicBool,
    /// The listener of the user, if one was set.
    pub(super) listener: OnceLock<Arc<dyn Listener>>,
    /// Computes the pauses of the background thread.
    pub(super) throttle: Mutex<Throttle>,
    /// Serializes calls of [`Engine::set_owner`].
    pub(super) owner_lock: Mutex<()>,
    /// Runs reads that a raft-rs core must not wait for. One thread; none in a stepped engine.
    #[cfg(feature = "raft-rs")]
    pub(super) task_pool: TaskPool,
    /// Takes snapshots, on up to [`Options::snapshot_threads`] threads.
    #[cfg(feature = "snapshots")]
    pub(super) snapshots: TaskPool,
    /// Whether the right to make the openraft logs of this engine is taken.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    pub(super) openraft: AtomicBool,
    /// Number of cursors.
    pub(super) followers: AtomicUsize,
    /// Rung after each write while there are cursors.
    pub(super) written: Bell,
    pub(super) options: Options,
}

impl EngineInner {
    pub(super) fn wal(&self) -> Result<MappedRwLockReadGuard<'_, Wal>> {
        // Recursive: a closure of a caller may call the engine again while another thread waits to close it.
        RwLockReadGuard::try_map(self.wal.read_recursive(), Option::as_ref).map_err(|_| Error::Closed)
    }

    /// The parts of the engine that reads and writes use.
    pub(super) fn store<'a>(&'a self, wal: &'a Wal) -> Store<'a> {
        let EngineInner { groups, usage, cache, buffers, compressor, .. } = self;
        Store { wal, groups, usage, cache, buffers, compressor }
    }

    /// As [`EngineInner::wal`], but waits until another callback may be registered. Holds no lock meanwhile: a
    /// callback may need the locks that a write takes, or close the engine.
    pub(super) fn wal_with_room(&self) -> Result<MappedRwLockReadGuard<'_, Wal>> {
        loop {
            let wal = self.wal()?;
            match wal.callbacks_full()? {
                None => return Ok(wal),
                Some(full) => {
                    drop(wal);
                    full.wait();
                }
            }
        }
    }

    /// The groups without the one that holds the owner of the log.
    pub(super) fn users_groups(&self) -> Vec<GroupId> {
        let mut groups = self.groups.ids();
        groups.retain(|group| *group != OWNER_GROUP);
        groups
    }
}
