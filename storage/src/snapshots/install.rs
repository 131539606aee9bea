//! Receiving a snapshot from a peer, and making the log start behind it.
//! Place on the data's way: from the connection to the log. Invariants: a snapshot is installed only after it was read
//! back in full; start, members and marker are one record, so the log is as before or as after; older files go only
//! behind that. Fails: typed, without a change, if it is out of date.

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
/// For one thread at a time; blocks for the disk, so not the thread that drives Raft. Dropped, it keeps what it has for
/// another of the same offer.
pub struct Incoming {
    shared: Arc<Shared>,
    receiver: Receiver,
}

impl Snapshots {
    /// Receives the snapshot of `offer`, from where an earlier transfer stopped. `None` if it is here already.
    /// [`Incoming`] takes the pieces; then it can be installed.
    ///
    /// # Errors
    /// [`Error::OutOfDate`], [`Error::OtherGroup`]; the catalog's: it is too large, another transfer of the group is
    /// under way, the disk fails.
    pub fn receive(&self, offer: &Offer) -> Result<Option<Incoming>> {
        let (id, shared) = (offer.id(), self.shared());
        shared.current(id)?;
        // Room first: what an install has replaced is still there.
        shared.catalog.retain(id.group)?;
        loop {
            match shared.catalog.receive(offer) {
                Ok(receiver) => return Ok(Some(Incoming { shared: Arc::clone(shared), receiver })),
                Err(SnapError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if !self.is_offered(offer)? {
                // Of the same entry, and another all the same.
                shared.catalog.remove(id)?;
                continue;
            }
            match verify_or_set_aside(shared, id) {
                Ok(()) => return Ok(None),
                // It was set aside: there is room for it.
                Err(Error::Catalog(cause)) if cause.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the snapshot of `offer` is here and was verified, so that it can be installed.
    ///
    /// # Errors
    /// The catalog fails.
    pub fn has(&self, offer: &Offer) -> Result<bool> {
        Ok(self.shared().catalog.is_verified(offer.id()) && self.is_offered(offer)?)
    }

    /// Whether the file of the offer's snapshot, which is there, says that it has the offer's content.
    fn is_offered(&self, offer: &Offer) -> Result<bool> {
        match self.shared().catalog.reader(offer.id()) {
            Ok(reader) => Ok(reader.stated().digest == offer.digest()),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds to `batch` what makes the log start behind a snapshot that was received: the start, the members, the
    /// marker. Entries that the log has behind it stay if its entry is there, with its term; all go otherwise. The
    /// snapshot is kept from being removed as long as the pin lives.
    ///
    /// When the batch is durable, the state machine has to load what [`Snapshots::installed`] gives.
    ///
    /// # Errors
    /// [`Error::OutOfDate`], [`Error::NotHere`], [`Error::OtherGroup`], [`Error::Members`]; or the catalog fails.
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

    /// The log starts behind a snapshot, durably: it is served from now on. Gives what the state machine has to load.
    ///
    /// # Errors
    /// The catalog fails.
    pub fn installed(&self, id: SnapshotId) -> Result<SnapshotReader> {
        let shared = self.shared();
        shared.named(id)?;
        shared.state().bytes = 0;
        Ok(shared.catalog.reader(id)?)
    }

    /// Installs a snapshot that was received: start, members, marker and a commit index that covers it, durable in one
    /// record. Then the state machine has to load what this returns. Older files go at once, if they may.
    ///
    /// # Errors
    /// As [`Snapshots::add_install`]; or the engine's. A log that was cut off or compacted meanwhile:
    /// [`Error::OutOfDate`].
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
    /// Whether a snapshot is one of the group's, and beyond what the log has gone beyond.
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
    /// Number of the piece that is next; the number of pieces when all are there.
    pub fn next(&self) -> u32 {
        self.receiver.next()
    }

    /// Bytes of content so far, and in all.
    pub fn progress(&self) -> Progress {
        self.receiver.progress()
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// As [`Receiver::accept`]: a piece that is refused changes nothing.
    pub fn accept(&mut self, piece: &Piece) -> Result<()> {
        Ok(self.receiver.accept(piece)?)
    }

    /// Publishes the snapshot and reads it back: when this returns it is durable, and can be installed.
    ///
    /// # Errors
    /// As [`Receiver::finish`]; or it is not what was written, and was set aside.
    pub fn finish(self) -> Result<Published> {
        let published = self.receiver.finish()?;
        verify_or_set_aside(&self.shared, published.id)?;
        Ok(published)
    }

    /// Gives the transfer up and removes what was received.
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
