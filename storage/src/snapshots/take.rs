//! Takes a snapshot: writes the content of the state machine, makes the marker durable, compacts the log, and
//! removes old files.
//!
//! The marker is written only after the file was published and read back. The log is compacted only after the
//! marker is durable. Files are removed last. After an error the completed steps remain and do no harm: a file
//! without a marker does not count, and the next snapshot at its index replaces it.

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

/// Writes the state of a state machine as it was when the source was made: from a copy, or from a view that
/// later changes do not affect. Called once, on the thread that takes the snapshot.
pub type SnapshotSource = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// A snapshot to take.
struct Task {
    id: SnapshotId,
    members: Vec<u8>,
    metadata: Vec<u8>,
}

impl Snapshots {
    /// Takes a snapshot of the state after entry `index`, on the calling thread. The log must have that entry,
    /// and it must be committed. `metadata`, at most 16 MiB, is stored as it is.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::MembersAhead`], [`Error::OutOfDate`]; the engine's `Compacted` and
    /// `Unavailable`; [`Error::Content`], [`Error::Overtaken`]; or an error of the catalog or the engine.
    /// Earlier snapshots stay in all cases.
    ///
    /// # Panics
    /// Panics if `dump` panics. The next snapshot can still be taken.
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

    /// Like [`Snapshots::take`], but on one of the engine's snapshot threads, which all groups share
    /// ([`Options::snapshot_threads`](crate::Options::snapshot_threads)); the snapshot waits until one is free.
    /// [`Snapshots::outcome`] returns the result. Runs on the calling thread if
    /// [`SnapshotOptions::background`](crate::snapshots::SnapshotOptions::background) is false or no thread can
    /// be started.
    ///
    /// # Errors
    /// The errors that [`Snapshots::take`] finds at once: [`Error::Busy`], [`Error::MembersAhead`],
    /// [`Error::OutOfDate`], or an index that the log does not have.
    pub fn start(&self, index: u64, metadata: &[u8], dump: SnapshotSource) -> Result<()> {
        let task = self.begin(index, metadata)?;
        let (shared, group) = (Arc::clone(self.shared()), self.group());
        let run = move || {
            // A panic of the state machine must not leave others waiting for ever.
            let taken = catch_unwind(AssertUnwindSafe(|| task.run(&shared, dump)));
            shared.ended(taken.unwrap_or_else(|_| Err(panicked(group))));
        };
        if !self.shared().options.background {
            run();
            return Ok(());
        }
        let job = Arc::clone(self.job());
        // The previous job may have reported its result without having ended.
        job.wait();
        job.put(Box::new(run));
        self.shared().engine.run_snapshot(move || job.run());
        Ok(())
    }

    /// Whether a snapshot is being taken.
    pub fn taking(&self) -> bool {
        self.shared().state().taking
    }

    /// Returns the result of the last snapshot that [`Snapshots::start`] began, once.
    pub fn outcome(&self) -> Option<Result<Taken>> {
        self.shared().state().outcome.take()
    }

    /// Waits until no snapshot is being taken in the background.
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
        // Pinned before the log names it, so that it is kept whatever else is verified in the meantime.
        let _pin = shared.catalog.pin(id)?;
        verify_or_set_aside(shared, id)?;
        let digest = short(&shared.catalog.reader(id)?.stated().digest);
        mark(shared, SnapshotMarker { index: id.index, term: id.term, digest })?;
        shared.named(id)?;
        let released = shared.release()?;
        let removed = shared.catalog.retain(id.group)?;
        Ok(Taken { id, released, removed })
    }

    /// Writes the file and publishes it. Replaces a file of this id that is not served: it was left by an
    /// earlier attempt, or by an earlier group with the same number.
    fn write(&self, shared: &Shared, dump: SnapshotSource) -> Result<()> {
        let id = self.id;
        // The log may name a snapshot whose file is gone, and the replacement may have different content.
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
            // An error of the writer comes back through `io::Write`.
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

/// The error of a snapshot whose source panicked.
fn panicked(group: GroupId) -> Error {
    Error::Thread { group, source: Arc::new(io::Error::other("it panicked")) }
}

/// Reads `id` back from the medium, unless it is verified already.
pub(super) fn verify(shared: &Shared, id: SnapshotId) -> Result<()> {
    if shared.catalog.is_verified(id) {
        return Ok(());
    }
    Ok(shared.catalog.verify(id, &mut |_| going_on(&shared.cancelled))?)
}

/// Like [`verify`]; also sets a damaged snapshot aside.
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
