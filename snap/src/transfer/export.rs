//! Sends a snapshot: reads its file as pieces that a receiver can check one by one, starting at any piece.
//!
//! No damaged chunk is sent. The snapshot is pinned until the export and its pieces are dropped.

use crate::directory::store::Pin;
use crate::error::{Error, FilePart};
use crate::format::wire::{Offer, Piece};
use crate::read::chunk_reader::{ChunkReader, Frame};
use crate::read::snapshot::Snapshot;
use seawall_disk::AlignedBuf;
use std::sync::Arc;

/// A snapshot to send; see [`Catalog::export`](crate::Catalog::export). Can be shared between threads; each
/// transfer calls [`Export::pieces`].
#[derive(Clone, Debug)]
pub struct Export {
    snapshot: Arc<Snapshot>,
    offer: Offer,
    pin: Pin,
}

/// Iterator over the pieces of a snapshot, in order; each is read on demand. Ends after the last one or after
/// an error.
#[derive(Debug)]
pub struct Pieces {
    snapshot: Arc<Snapshot>,
    tag: u64,
    next: u32,
    /// `None` after the end.
    frames: Option<ChunkReader>,
    frame: Frame,
    _pin: Pin,
}

impl Export {
    pub(crate) fn open(pin: Pin) -> Result<Export, Error> {
        let snapshot = Snapshot::open(&*pin.store().disk, pin.id())?;
        let offer = Offer {
            id: snapshot.header.id,
            tag: Offer::tag_of(&snapshot.opening, &snapshot.trailer),
            file_bytes: snapshot.file_bytes,
            opening_bytes: u32::try_from(snapshot.opening.len()).unwrap_or(u32::MAX),
            trailer: snapshot.trailer,
        };
        Ok(Export { snapshot: Arc::new(snapshot), offer, pin })
    }

    /// The offer, which the receiver needs before the first piece.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The pieces from number `from` on, which the receiver provides
    /// ([`Receiver::next`](crate::Receiver::next)); none if `from` is past the last one. Reads the headers of
    /// the earlier chunks.
    ///
    /// # Errors
    /// [`Error::Damaged`]; or the disk fails.
    pub fn pieces(&self, from: u32) -> Result<Pieces, Error> {
        let mut frames = self.snapshot.frames(self.snapshot.first());
        let mut buf = AlignedBuf::new();
        let chunk = from.saturating_sub(1).min(self.snapshot.trailer.chunk_count);
        while frames.position().0 < chunk {
            frames.skip(&mut buf)?;
        }
        let (snapshot, tag) = (Arc::clone(&self.snapshot), self.offer.tag);
        let frames = (from < self.offer.piece_count()).then_some(frames);
        Ok(Pieces { snapshot, tag, next: from, frames, frame: Frame::default(), _pin: self.pin.clone() })
    }
}

impl Pieces {
    fn read(&mut self) -> Result<Option<Piece>, Error> {
        let (tag, number) = (self.tag, self.next);
        if number == 0 {
            return Ok(Some(Piece { tag, number, offset: 0, bytes: self.snapshot.opening.clone() }));
        }
        let Some(frames) = &mut self.frames else { return Ok(None) };
        let offset = frames.position().1;
        let Some(frame) = frames.next(std::mem::take(&mut self.frame))? else { return Ok(None) };
        if let Some(chunk) = &frame.chunk {
            let damaged = |fault| self.snapshot.context.damaged(FilePart::Chunk(chunk.index), fault);
            chunk.check_stored(frame.stored()).map_err(damaged)?;
        }
        let bytes = frame.bytes().to_vec();
        self.frame = frame;
        Ok(Some(Piece { tag, number, offset, bytes }))
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Result<Piece, Error>> {
        self.frames.as_ref()?;
        let piece = self.read().transpose();
        match &piece {
            Some(Ok(_)) => self.next = self.next.saturating_add(1),
            _ => self.frames = None,
        }
        piece
    }
}
