//! Taking a snapshot: from the state machine's content to a marker in the log, and what may go behind it.
//! Place on the data's way: on a thread of its own, or on the caller's. Invariants: the marker is written only when the
//! file was published and read back; the log is compacted only when the marker is durable; files go last.
//! Fails: with the step that failed. What was done before it stays and is no harm: a file without a marker does not
//! count, and the next snapshot at its index uses it.

use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seawall_snap::{Error as SnapError, SnapshotId};

use super::error::{Error, Result};
use crate::error::Error as EngineError;
use crate::snapshots::eligibility::short;
use crate::snapshots::handle::{Shared, Snapshots, Taken};
use crate::types::{GroupId, SnapshotMarker};
use crate::write::WriteBatch;

/// Says the state of a state machine as it was when this was made: a copy, or a view that later changes do not
/// reach. Called once, on the thread that takes the snapshot.
pub type SnapshotSource = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// What is to be taken.
struct Task {
    id: SnapshotId,
    members: Vec<u8>,
    metadata: Vec<u8>,
}

impl Snapshots {
    /// Takes a snapshot of the state behind entry `index`, which the log has and which is committed; on the calling
    /// thread. `metadata`, at most 16 MiB, is kept as it is.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::MembersAhead`], [`Error::OutOfDate`]; the engine's `Compacted` and `Unavailable`;
    /// [`Error::Content`], [`Error::Overtaken`]; or catalog or engine fail. Whatever it is, the snapshots before are still
    /// there.
    ///
    /// # Panics
    /// If `dump` does. The next snapshot can be taken all the same.
    pub fn take(&self, index: u64, metadata: &[u8], dump: SnapshotSource) -> Result<Taken> {
        let task = self.begin(index, metadata)?;
        let shared = self.shared();
        let taken = catch_unwind(AssertUnwindSafe(|| task.run(shared, dump)));
        let ended = match &taken {
            Ok(taken) => taken.clone(),
            Err(_) => Err(panicked(self.group())),
        };
        shared.ended(ended);
        shared.state().outcome = None;
        taken.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// As [`Snapshots::take`], on one of the engine's threads for snapshots, of which there are few for all groups
    /// ([`Options::snapshot_threads`](crate::Options::snapshot_threads)): it waits for its turn. [`Snapshots::outcome`] says
    /// what became of it. If the options say so, or no thread can be had, on the calling thread after all.
    ///
    /// # Errors
    /// What [`Snapshots::take`] finds out at once: [`Error::Busy`], [`Error::MembersAhead`], [`Error::OutOfDate`], an index
    /// that the log does not have.
    pub fn start(&self, index: u64, metadata: &[u8], dump: SnapshotSource) -> Result<()> {
        let task = self.begin(index, metadata)?;
        let (shared, group) = (Arc::clone(self.shared()), self.group());
        let run = move || {
            // The state machine's panic must not leave others waiting for a snapshot that never comes.
            let taken = catch_unwind(AssertUnwindSafe(|| task.run(&shared, dump)));
            shared.ended(taken.unwrap_or_else(|_| Err(panicked(group))));
        };
        if !self.shared().options.background {
            run();
            return Ok(());
        }
        let job = Arc::clone(self.job());
        // The one before may have told of its end and not quite have ended.
        job.wait();
        job.put(Box::new(run));
        self.shared().engine.run_snapshot(move || job.run());
        Ok(())
    }

    /// Whether a snapshot is being taken.
    pub fn taking(&self) -> bool {
        self.shared().state().taking
    }

    /// What became of the last snapshot that [`Snapshots::start`] began; once.
    pub fn outcome(&self) -> Option<Result<Taken>> {
        self.shared().state().outcome.take()
    }

    /// Waits for the snapshot that is being taken in the background, if there is one.
    pub fn wait(&self) {
        self.job().wait();
    }

    fn begin(&self, index: u64, metadata: &[u8]) -> Result<Task> {
        let (shared, group) = (self.shared(), self.group());
        let term = shared.group.term(index)?;
        let id = SnapshotId { group, index, term };
        let members = shared.member_bytes(index)?;
        let markers = shared.group.snapshots();
        let mut state = shared.state();
        if state.taking {
            return Err(Error::Busy { group });
        }
        let served = state.served.as_ref().is_some_and(|served| served.offer.id() == id);
        if let Some(newest) = markers.first().filter(|newest| newest.index > index || served || index == 0) {
            return Err(Error::OutOfDate { id, newest: newest.index });
        }
        state.taking = true;
        (state.base, state.bytes) = (index, 0);
        Ok(Task { id, members, metadata: metadata.to_vec() })
    }
}

impl Task {
    fn run(self, shared: &Shared, dump: SnapshotSource) -> Result<Taken> {
        let id = self.id;
        self.write(shared, dump)?;
        // From before the log names it: whatever else is verified, it does not go.
        let _pin = shared.catalog.pin(id)?;
        verify_or_set_aside(shared, id)?;
        let digest = short(&shared.catalog.reader(id)?.stated().digest);
        mark(shared, SnapshotMarker { index: id.index, term: id.term, digest })?;
        shared.named(id)?;
        let released = shared.release()?;
        let removed = shared.catalog.retain(id.group)?;
        Ok(Taken { id, released, removed })
    }

    /// Writes the file and publishes it. What is there without being served takes no part in it: left by an earlier
    /// try, or by an earlier group of the same number.
    fn write(&self, shared: &Shared, dump: SnapshotSource) -> Result<()> {
        let id = self.id;
        // The log may name one that is gone: what takes its place has another content, perhaps.
        let again = |marker: &SnapshotMarker| marker.index == id.index && marker.digest != 0;
        if shared.group.snapshots().first().is_some_and(again) {
            mark(shared, SnapshotMarker { index: id.index, term: id.term, digest: 0 })?;
        }
        let mut writer = match shared.catalog.write(id, &self.members, &self.metadata) {
            Err(SnapError::Exists { .. }) => {
                shared.catalog.remove(id)?;
                shared.catalog.write(id, &self.members, &self.metadata)?
            }
            writer => writer?,
        };
        let cancelled = Arc::clone(&shared.cancelled);
        writer.watch(move |_| going_on(&cancelled));
        if let Err(source) = dump(&mut writer) {
            // The writer's own error comes back through `io::Write`.
            let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<SnapError>()).cloned();
            return Err(match inner {
                Some(error) => error.into(),
                None => Error::Content { id, source: Arc::new(source) },
            });
        }
        writer.finish()?;
        Ok(())
    }
}

/// What became of a snapshot whose dump panicked.
fn panicked(group: GroupId) -> Error {
    Error::Thread { group, source: Arc::new(io::Error::other("it panicked")) }
}

/// Reads `id` back from the medium.
pub(super) fn verify(shared: &Shared, id: SnapshotId) -> Result<()> {
    if shared.catalog.is_verified(id) {
        return Ok(());
    }
    Ok(shared.catalog.verify(id, &mut |_| going_on(&shared.cancelled))?)
}

/// As [`verify`]; what is not as it was written gets out of the way.
pub(super) fn verify_or_set_aside(shared: &Shared, id: SnapshotId) -> Result<()> {
    let verified = verify(shared, id);
    match &verified {
        Err(Error::Catalog(cause)) if cause.is_damage() => _ = shared.catalog.set_aside(id)?,
        _ => {}
    }
    verified
}

fn going_on(cancelled: &AtomicBool) -> ControlFlow<()> {
    if cancelled.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Writes the marker and waits until it is durable.
fn mark(shared: &Shared, marker: SnapshotMarker) -> Result<()> {
    let group = shared.group.id();
    let id = SnapshotId { group, index: marker.index, term: marker.term };
    let mut batch = WriteBatch::new();
    batch.snapshot_marker(group, marker);
    match shared.engine.write(&mut batch) {
        Ok(ticket) => ticket.wait().map(drop).map_err(Error::from),
        Err(EngineError::SnapshotBack { .. } | EngineError::Compacted { .. }) => Err(Error::Overtaken { id }),
        Err(error) => Err(error.into()),
    }
}
