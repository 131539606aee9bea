//! `Engine`, the handle of an engine.

use std::fmt;
use std::sync::Arc;
#[cfg(any(feature = "openraft", feature = "openraft-09"))]
use std::sync::atomic::Ordering;

use crate::engine::group::Group;
use crate::engine::user_handle::{InsideCall, UserHandle};
use crate::error::{Error, Result};
use crate::listener::Listener;
use crate::types::{DamagedEntry, GroupId, Location};

/// Upper bound for the bytes that a record with one entry and one hard state needs in addition to the payload,
/// including its share of the footer. The real need is about 350 bytes.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// Many Raft groups on one durable log. Cloning returns another handle of the same engine. A [`Group`] and a
/// [`PinnedReader`](crate::PinnedReader) are handles too.
///
/// Dropping the last handle without [`Engine::close`] is like a kill: writes that were not acknowledged may be lost.
/// The drop waits until the engine's threads have finished the work under way. When it returns, the directory is
/// unlocked and can be opened again.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<UserHandle>);

impl Engine {
    /// Returns a handle of group `id`, whether the group exists or not.
    pub fn group(&self, id: GroupId) -> Group {
        Group { core: Arc::clone(&self.0), id }
    }

    /// Returns the numbers of the groups that exist, ascending.
    ///
    /// To the engine, every number is an ordinary group. The openraft adapters keep the vote and the purged log id of
    /// group *n* in a separate group with the number *n* + 2^63 ([`GroupId`]), which is in this list too.
    pub fn groups(&self) -> Vec<GroupId> {
        self.0.users_groups()
    }

    /// Acquires the right to make the openraft logs of this engine; `false` if it is already taken.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    pub(crate) fn take_openraft(&self) -> bool {
        !self.0.openraft.swap(true, Ordering::AcqRel)
    }

    /// Returns that right.
    #[cfg(any(feature = "openraft", feature = "openraft-09"))]
    pub(crate) fn return_openraft(&self) {
        self.0.openraft.store(false, Ordering::Release);
    }

    /// Returns the entries whose payloads are damaged, sorted by group and index. Their indexes and terms are
    /// correct; reading one fails with [`Error::DamagedEntry`]. Always empty in strict mode. An entry leaves the list
    /// when it is overwritten or compacted.
    ///
    /// Until the list is empty for a group, the node lacks data that it has acknowledged: see *Open modes* in
    /// `docs/durability.md`.
    pub fn damaged(&self) -> Vec<DamagedEntry> {
        let still = |(entry, at): &&(DamagedEntry, Location)| {
            let slot = self.0.groups.get(entry.group);
            let now = slot.and_then(|slot| slot.read().location(entry.index));
            now.is_some_and(|now| (now.segment, now.offset) == (at.segment, at.offset))
        };
        let mut damaged: Vec<_> = self.0.damaged.iter().filter(still).map(|(entry, _)| *entry).collect();
        damaged.sort_unstable();
        damaged
    }

    /// Returns the largest payload, in bytes, of a batch that consists of one entry and a hard state.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn entry_bytes_max(&self) -> Result<usize> {
        Ok(self.0.wal()?.record_bytes_max().saturating_sub(ENTRY_OVERHEAD_BYTES))
    }

    /// Waits until everything written so far is durable, including commit indexes and compactions.
    ///
    /// # Errors
    /// [`Error::Closed`], or the error of the log.
    pub fn flush(&self) -> Result<()> {
        let wal = self.0.wal()?;
        // As in `write`, the result of this background work does not matter for what was written.
        let _ = self.0.advance(&wal, self.0.usage.released(|| wal.active_segment()));
        wal.flush()?;
        Ok(())
    }

    /// Flushes and closes the log. Waits for the calls under way. Later calls that need the log fail with
    /// [`Error::Closed`], on every handle.
    ///
    /// # Errors
    /// [`Error::InsideCall`] if this engine is calling the caller's closure or listener on this thread; nothing was
    /// done. [`Error::Closed`] if the engine was closed before, or the error of the log.
    pub fn close(&self) -> Result<()> {
        if InsideCall::is(&self.0) {
            return Err(Error::InsideCall);
        }
        let wal = self.0.wal.write().take();
        Ok(wal.ok_or(Error::Closed)?.close()?)
    }

    /// Calls `listener` for events of the engine and its log from now on. Only the first listener is used; later ones
    /// are ignored.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_listener(&self, listener: Arc<dyn Listener>) -> Result<()> {
        let wal = self.0.wal()?;
        if self.0.listener.set(Arc::clone(&listener)).is_ok() {
            wal.set_listener(listener);
        }
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.0.options).finish_non_exhaustive()
    }
}
