//! Receives a snapshot from a peer and makes the log start after it.
//!
//! A snapshot is installed only after it was read back in full. The start of the log, the members and the
//! marker are one record, so a crash leaves the log as before or as after. A crash before the file is published
//! leaves pieces that another transfer of the same offer continues. A crash between publishing the file and that
//! record leaves a file that no marker names: it is not loaded, and a new transfer of the same offer uses it.
//! A crash after the record: the next start loads the snapshot, unless the state machine is newer. Older files
//! are removed only after that record is durable. An outdated snapshot is refused without any change.

use std::fmt;
use std::sync::Arc;

use seawall_snap::{
    Error as SnapError, Offer, Piece, Pin, Progress, Published, Receiver, SnapshotId, SnapshotReader,
};

use super::error::{Error, Result};
use super::take::verify_or_set_aside;
use crate::error::Error as EngineError;
use crate::snapshots::eligibility::short;
use crate::snapshots::handle::{Shared, Snapshots};
use crate::types::{HardState, SnapshotMarker};
use crate::write::WriteBatch;

/// Receives one snapshot of a group; see [`Snapshots::receive`].
///
/// Used by one thread at a time. It blocks on the disk, so do not use it on the thread that drives Raft. When
/// it is dropped, the received pieces stay for another transfer of the same offer.
pub struct Incoming {
    shared: Arc<Shared>,
    receiver: Receiver,
}

impl Snapshots {
    /// Starts to receive the snapshot of `offer`, or continues where an earlier transfer stopped. `None` if the
    /// snapshot is already here. Pass the pieces to [`Incoming`]; then the snapshot can be installed.
    ///
    /// # Errors
    /// [`Error::OutOfDate`], [`Error::OtherGroup`]; or an error of the catalog: the snapshot is too large,
    /// another transfer of the group is in progress, or the disk fails.
    pub fn receive(&self, offer: &Offer) -> Result<Option<Incoming>> {
        let (id, shared) = (offer.id(), self.shared());
        shared.current(id)?;
        // Frees space first: files that an install has replaced may still exist.
        shared.catalog.retain(id.group)?;
        loop {
            match shared.catalog.receive(offer) {
                Ok(receiver) => return Ok(Some(Incoming { shared: Arc::clone(shared), receiver })),
                Err(SnapError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if !self.is_offered(offer)? {
                // The snapshot here is of the same entry, but has different content.
                shared.catalog.remove(id)?;
                continue;
            }
            match verify_or_set_aside(shared, id) {
                Ok(()) => return Ok(None),
                // It was set aside, so the loop can receive it again.
                Err(Error::Catalog(cause)) if cause.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the snapshot of `offer` is here and verified, so that it can be installed.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn has(&self, offer: &Offer) -> Result<bool> {
        Ok(self.shared().catalog.is_verified(offer.id()) && self.is_offered(offer)?)
    }

    /// Whether the existing file of the offered snapshot states the content of the offer.
    fn is_offered(&self, offer: &Offer) -> Result<bool> {
        match self.shared().catalog.reader(offer.id()) {
            Ok(reader) => Ok(reader.stated().digest == offer.digest()),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds to `batch` the operations that make the log start after a received snapshot: the start, the members
    /// and the marker. If the log has the snapshot's entry with its term, later entries stay; otherwise all
    /// entries are removed. The commit index is the caller's: it may be in this batch or in a later one. The
    /// returned pin keeps the snapshot from being removed.
    ///
    /// Once the batch is durable, the state machine has to load the snapshot that [`Snapshots::installed`]
    /// returns.
    ///
    /// # Errors
    /// [`Error::OutOfDate`], [`Error::NotHere`], [`Error::OtherGroup`], [`Error::Members`]; or an error of the
    /// catalog.
    pub fn add_install(&self, id: SnapshotId, batch: &mut WriteBatch) -> Result<Pin> {
        let shared = self.shared();
        shared.current(id)?;
        if !shared.catalog.is_verified(id) {
            return Err(Error::NotHere { id });
        }
        let reader = shared.catalog.reader(id)?;
        let marker =
            SnapshotMarker { index: id.index, term: id.term, digest: short(&reader.stated().digest) };
        batch.set_start(id.group, id.index, id.term);
        if let Some(members) = shared.members(&reader)? {
            batch.conf_state(id.group, &members);
        }
        batch.snapshot_marker(id.group, marker);
        Ok(reader.pin())
    }

    /// Serves a snapshot after which the log now durably starts. Returns the content that the state machine has
    /// to load.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn installed(&self, id: SnapshotId) -> Result<SnapshotReader> {
        let shared = self.shared();
        shared.named(id)?;
        shared.state().bytes = 0;
        Ok(shared.catalog.reader(id)?)
    }

    /// Installs a received snapshot: makes start, members, marker and a commit index that covers it durable in
    /// one record. The state machine then has to load the returned snapshot. Older files are removed at once if
    /// possible.
    ///
    /// # Errors
    /// Like [`Snapshots::add_install`]; or an error of the engine. [`Error::OutOfDate`] if the log was
    /// compacted, or got a newer snapshot, in the meantime.
    pub fn install(&self, id: SnapshotId) -> Result<SnapshotReader> {
        let shared = self.shared();
        let mut batch = WriteBatch::new();
        let _pin = self.add_install(id, &mut batch)?;
        let hard = shared.group.hard_state();
        batch.hard_state(id.group, HardState { commit: hard.commit.max(id.index), ..hard });
        match shared.engine.write(&mut batch) {
            Ok(ticket) => ticket.wait()?,
            Err(EngineError::Compacted { point: newest, .. } | EngineError::SnapshotBack { newest, .. }) => {
                return Err(Error::OutOfDate { id, newest });
            }
            Err(error) => return Err(error.into()),
        };
        let reader = self.installed(id)?;
        shared.catalog.retain(id.group)?;
        Ok(reader)
    }
}

impl Shared {
    /// Fails unless the snapshot belongs to this group and is newer than the compaction point and the newest
    /// marker.
    fn current(&self, id: SnapshotId) -> Result<()> {
        let group = self.group.id();
        if id.group != group {
            return Err(Error::OtherGroup { group, id });
        }
        let marked = self.group.snapshots().first().map_or(0, |newest| newest.index);
        let newest = marked.max(self.group.compaction_point().0);
        if id.index <= newest { Err(Error::OutOfDate { id, newest }) } else { Ok(()) }
    }
}

impl Incoming {
    /// Number of the next piece; the number of pieces once all are here.
    pub fn next(&self) -> u32 {
        self.receiver.next()
    }

    /// Bytes of content received so far, and in total.
    pub fn progress(&self) -> Progress {
        self.receiver.progress()
    }

    /// Accepts the next piece.
    ///
    /// # Errors
    /// Like [`Receiver::accept`]: a refused piece changes nothing.
    pub fn accept(&mut self, piece: &Piece) -> Result<()> {
        Ok(self.receiver.accept(piece)?)
    }

    /// Publishes the snapshot and reads it back. When this returns, the snapshot is durable and can be
    /// installed.
    ///
    /// # Errors
    /// Like [`Receiver::finish`]. Also fails if the file is not what was written; it is then set aside.
    pub fn finish(self) -> Result<Published> {
        let published = self.receiver.finish()?;
        verify_or_set_aside(&self.shared, published.id)?;
        Ok(published)
    }

    /// Ends the transfer and removes the received data.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn discard(self) -> Result<()> {
        Ok(self.receiver.discard()?)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incoming").field(&self.receiver).finish()
    }
}
