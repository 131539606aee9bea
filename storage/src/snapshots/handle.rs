//! The state of one group's snapshots at run time; decides when the next snapshot is due.
//!
//! A snapshot that is served is named by the log and verified. The snapshots of the log's newest markers are
//! pinned, as many as the catalog keeps. The lock is a leaf lock and never held during I/O.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use seawall_snap::{Catalog, Offer, Pin, SnapshotId, SnapshotReader};

use super::error::{Error, Result};
use super::job::Job;
use super::options::SnapshotOptions;
use crate::engine::{Engine, Group};
use crate::error::Error as EngineError;
use crate::format::{decode_conf_state, encode_conf_state};
use crate::snapshots::eligibility::releasable;
use crate::types::{ConfState, SnapshotMarker};
use crate::write::WriteBatch;

/// The snapshots of one group. A clone is another handle of the same snapshots; handles can be shared between
/// threads.
///
/// Dropping the last handle cancels a snapshot that is being taken in the background, and waits until it has
/// ended.
#[derive(Clone)]
pub struct Snapshots(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    /// The snapshot that is taken in the background. Not part of `shared`, which the background work holds: the
    /// handle would then keep itself alive.
    job: Arc<Job>,
}

/// State shared with the background work.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) group: Group,
    pub(super) catalog: Catalog,
    pub(super) options: SnapshotOptions,
    /// Set when the snapshot that is being taken is no longer needed.
    pub(super) cancelled: Arc<AtomicBool>,
    state: Mutex<State>,
}

/// The mutable state.
#[derive(Default)]
pub(super) struct State {
    pub(super) served: Option<Served>,
    /// Pins of the snapshots that the log's newest markers name.
    pins: Vec<Pin>,
    /// Index of the last snapshot started or installed; `bytes` counts the bytes applied since.
    pub(super) base: u64,
    pub(super) bytes: u64,
    /// A follower needs a snapshot at this index or above.
    wanted: Option<u64>,
    pub(super) taking: bool,
    pub(super) outcome: Option<Result<Taken>>,
}

/// A snapshot that was taken: it is published and verified, and its marker is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The snapshot.
    pub id: SnapshotId,
    /// Index up to which the log was compacted, if it was.
    pub released: Option<u64>,
    /// Snapshots whose files were removed, oldest first.
    pub removed: Vec<SnapshotId>,
}

/// The snapshot that is sent to followers: the newest verified one that the log names.
#[derive(Clone, Debug)]
pub struct Served {
    /// The description that a receiver needs before the first piece, including the id of the snapshot.
    pub offer: Offer,
    /// The members at the snapshot, if the group had any.
    pub members: Option<Arc<ConfState>>,
}

impl Served {
    /// Index of the last entry that the snapshot covers.
    pub fn index(&self) -> u64 {
        self.offer.id().index
    }
}

impl Snapshots {
    pub(super) fn new(shared: Shared) -> Snapshots {
        Snapshots(Arc::new(Handle { shared: Arc::new(shared), job: Arc::default() }))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(super) fn job(&self) -> &Arc<Job> {
        &self.0.job
    }

    /// Id of the group.
    pub fn group(&self) -> u64 {
        self.shared().group.id()
    }

    /// The catalog, for instance to export an offered snapshot. Do not use its methods for retention and
    /// start-up, such as [`Catalog::retain`] and [`Catalog::newest`]: they do not know about markers, and this
    /// type does that work.
    pub fn catalog(&self) -> &Catalog {
        &self.shared().catalog
    }

    /// The newest snapshot that can be sent, from memory.
    pub fn served(&self) -> Option<Served> {
        self.shared().state().served.clone()
    }

    /// Returns the snapshot for a follower that needs one at `index` or above, from memory. If there is none, a
    /// snapshot becomes due as soon as `index` is applied.
    pub fn serve(&self, index: u64) -> Option<Served> {
        self.serve_if(index, |_| true)
    }

    /// Like [`Snapshots::serve`], for the follower `peer`. Returns no snapshot that was taken before the newest
    /// membership change or that does not have `peer` as a member: a Raft core drops such a snapshot, and its
    /// leader waits for an answer that never comes.
    pub fn serve_to(&self, peer: u64, index: u64) -> Option<Served> {
        let changed = self.shared().group.conf_state().map_or(0, |members| members.index);
        let member = |served: &Served| served.members.as_ref().is_some_and(|members| members.has(peer));
        self.serve_if(index.max(changed), member)
    }

    fn serve_if(&self, index: u64, fits: impl Fn(&Served) -> bool) -> Option<Served> {
        let mut state = self.shared().state();
        let served = state.served.clone().filter(|served| served.index() >= index && fits(served));
        if served.is_none() {
            state.wanted = state.wanted.max(Some(index));
        }
        served
    }

    /// Adds `bytes` of applied entries to the count for [`SnapshotOptions::bytes`].
    pub fn applied(&self, bytes: u64) {
        let mut state = self.shared().state();
        state.bytes = state.bytes.saturating_add(bytes);
    }

    /// Whether a snapshot should be taken at `applied`, the applied index of the state machine: enough was
    /// applied since the last one, or a follower waits for one. Always false while a snapshot is being taken,
    /// or while snapshots of other groups wait for a thread
    /// ([`Options::snapshot_threads`](crate::Options::snapshot_threads)). From memory.
    pub fn due(&self, applied: u64) -> bool {
        let shared = self.shared();
        // If that snapshot is damaged, the state machine may be behind it for a while.
        let marked = shared.group.snapshots().first().map_or(0, |newest| newest.index);
        let state = shared.state();
        let newest = state.served.as_ref().map_or(0, Served::index);
        if state.taking || applied <= newest || applied < marked {
            return false;
        }
        // A state that waits for a thread would occupy memory.
        if shared.options.background && shared.engine.snapshots_waiting() > 0 {
            return false;
        }
        let enough = applied.saturating_sub(state.base) >= shared.options.entries
            || (state.bytes >= shared.options.bytes && applied > state.base);
        enough || state.wanted.is_some_and(|index| index <= applied)
    }

    /// Decodes the members in a snapshot; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Members`].
    pub fn members(&self, reader: &SnapshotReader) -> Result<Option<ConfState>> {
        self.shared().members(reader)
    }

    /// Compacts the log up to [`Snapshots::release_floor`]; returns the index if it did. [`Snapshots::take`]
    /// does this itself; call it only after [`Snapshots::set_aside`] and similar changes.
    ///
    /// # Errors
    /// An error of the engine.
    pub fn release(&self) -> Result<Option<u64>> {
        self.shared().release()
    }

    /// Index up to which the options allow compacting the log; `None` if not at all.
    pub fn release_floor(&self) -> Option<u64> {
        self.shared().floor()
    }

    /// Sets aside a snapshot that turned out damaged when it was sent or read; it is no longer served. Returns
    /// the name of its file.
    ///
    /// # Errors
    /// An error of the catalog.
    pub fn set_aside(&self, id: SnapshotId) -> Result<String> {
        let shared = self.shared();
        let mut state = shared.state();
        if state.served.as_ref().is_some_and(|served| served.offer.id() == id) {
            state.served = None;
        }
        state.pins.retain(|pin| pin.id() != id);
        drop(state);
        Ok(shared.catalog.set_aside(id)?)
    }
}

impl Shared {
    pub(super) fn new(
        engine: &Engine,
        group: u64,
        catalog: &Catalog,
        options: SnapshotOptions,
    ) -> Result<Shared> {
        options.check()?;
        Ok(Shared {
            engine: engine.clone(),
            group: engine.group(group),
            catalog: catalog.clone(),
            options,
            cancelled: Arc::default(),
            state: Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The catalog's id of the snapshot of `marker`.
    fn id(&self, marker: &SnapshotMarker) -> SnapshotId {
        SnapshotId { group: self.group.id(), index: marker.index, term: marker.term }
    }

    /// Serves snapshot `id`, which is verified and is the newest that the log names, and updates the pins.
    pub(super) fn named(&self, id: SnapshotId) -> Result<()> {
        let offer = *self.catalog.export(id)?.offer();
        let members = self.members(&self.catalog.reader(id)?)?;
        let mut state = self.state();
        if state.served.as_ref().is_none_or(|served| served.index() <= id.index) {
            state.served = Some(Served { offer, members: members.map(Arc::new) });
        }
        if state.wanted.is_some_and(|index| index <= id.index) {
            state.wanted = None;
        }
        state.base = state.base.max(id.index);
        self.pin(&mut state);
        Ok(())
    }

    /// Pins the snapshots of the newest markers, as many as the catalog keeps. Others may be removed.
    pub(super) fn pin(&self, state: &mut State) {
        let keep = usize::try_from(self.catalog.options().keep).unwrap_or(usize::MAX);
        let markers = self.group.snapshots();
        // A marker may name a snapshot whose file is gone.
        state.pins = markers.iter().take(keep).filter_map(|m| self.catalog.pin(self.id(m)).ok()).collect();
    }

    /// Stores the result of the snapshot that was being taken. After a failure, a waiting follower has to ask
    /// again.
    pub(super) fn ended(&self, outcome: Result<Taken>) {
        let mut state = self.state();
        if outcome.is_err() {
            state.wanted = None;
        }
        (state.taking, state.outcome) = (false, Some(outcome));
    }

    /// Decodes the members at a snapshot.
    pub(super) fn members(&self, reader: &SnapshotReader) -> Result<Option<ConfState>> {
        let bytes = reader.conf_state();
        if bytes.is_empty() {
            return Ok(None);
        }
        decode_conf_state(bytes).map(Some).map_err(|source| Error::Members { id: reader.id(), source })
    }

    /// Encodes the members for a snapshot at `index`.
    pub(super) fn member_bytes(&self, index: u64) -> Result<Vec<u8>> {
        let Some(members) = self.group.conf_state() else { return Ok(Vec::new()) };
        if members.index > index {
            let (group, members) = (self.group.id(), members.index);
            return Err(Error::MembersAhead { group, index, members });
        }
        Ok(encode_conf_state(&members))
    }

    fn floor(&self) -> Option<u64> {
        let options = self.catalog.options();
        let markers: Vec<(u64, bool)> = self
            .group
            .snapshots()
            .iter()
            .map(|marker| (marker.index, self.catalog.is_verified(self.id(marker))))
            .collect();
        let behind = usize::from(options.fall_back && options.keep > 1);
        let SnapshotOptions { catch_up_entries, catch_up_bytes, .. } = self.options;
        releasable(&markers, behind, |newest| self.group.behind(newest, catch_up_entries, catch_up_bytes))
    }

    pub(super) fn release(&self) -> Result<Option<u64>> {
        let Some(floor) = self.floor().filter(|floor| *floor > self.group.compaction_point().0) else {
            return Ok(None);
        };
        let mut batch = WriteBatch::new();
        batch.compact(self.group.id(), floor);
        match self.engine.write(&mut batch) {
            Ok(_) => Ok(Some(floor)),
            // Another snapshot was installed in the meantime.
            Err(EngineError::Compacted { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        self.job.end();
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared().state();
        f.debug_struct("Snapshots")
            .field("group", &self.group())
            .field("served", &state.served)
            .field("taking", &state.taking)
            .finish_non_exhaustive()
    }
}
