//! Sending a snapshot: its file in pieces that a receiver can judge one by one, from any piece on.
//!
//! FilePart: between the shelf and a connection to a follower. Invariants: no damaged chunk is sent; the snapshot is
//! pinned until export and pieces are dropped. Fails as reading does.

use crate::directory::store::Pin;
use crate::error::{Error, FilePart};
use crate::format::wire::{Offer, Piece};
use crate::read::chunk_reader::{ChunkReader, Frame};
use crate::read::snapshot::Snapshot;
use seawall_wal::disk::AlignedBuf;
use std::sync::Arc;

/// A snapshot that is sent; see [`Catalog::export`](crate::Catalog::export). Shared by threads: every transfer
/// takes [`Export::pieces`] of its own.
#[derive(Clone, Debug)]
pub struct Export {
    snapshot: Arc<Snapshot>,
    offer: Offer,
    pin: Pin,
}

/// Pieces of a snapshot, in order; each is read when it is asked for. Ends behind the last one, or with an error.
#[derive(Debug)]
pub struct Pieces {
    snapshot: Arc<Snapshot>,
    tag: u64,
    next: u32,
    /// None when it ended.
    frames: Option<ChunkReader>,
    frame: Frame,
    _pin: Pin,
}

impl Export {
    pub(crate) fn open(pin: Pin) -> Result<Export, Error> {
        let snapshot = Snapshot::open(&*pin.shelf().disk, pin.id())?;
        let offer = Offer {
            id: snapshot.header.id,
            tag: Offer::tag_of(&snapshot.opening, &snapshot.trailer),
            file_bytes: snapshot.file_bytes,
            opening_bytes: u32::try_from(snapshot.opening.len()).unwrap_or(u32::MAX),
            trailer: snapshot.trailer,
        };
        Ok(Export { snapshot: Arc::new(snapshot), offer, pin })
    }

    /// What the receiver has to know first.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The pieces from number `from` on, which the receiver says ([`Receiver::next`](crate::Receiver::next)); none
    /// from behind the last one. Walks over the headers of the chunks before.
    ///
    /// # Errors
    /// [`Error::Damaged`], or the disk fails.
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
            let damaged = |fault| self.snapshot.site.damaged(FilePart::Chunk(chunk.index), fault);
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
