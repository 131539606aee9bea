//! Receives a snapshot in pieces from an untrusted sender.
//!
//! A piece is written only if it is the next one of this transfer and passes its checksums. The snapshot is
//! published only if it is complete and the digest of the whole is correct. Memory is bounded by one chunk,
//! disk space by the offer (INV-9). A refused piece changes nothing.
//!
//! The file in progress is a prefix of the published one. After a restart its chunks are checked again from the
//! medium, and the transfer continues after the last intact one.

use crate::directory::store::{Reservation, Store};
use crate::error::{Error, FileContext, OfferFault, PieceFault};
use crate::format::codec::Decoder;
use crate::format::name;
use crate::format::wire::{Offer, Piece};
use crate::format::{CHUNK_HEADER_BYTES, ChunkHeader, Fault, Header, TRAILER_BYTES};
use crate::read::chunk_reader::{ChunkReader, Frame, Medium};
use crate::read::snapshot::{check_counts, file_bytes};
use crate::types::{Progress, Published};
use crate::write::file_writer::FileWriter;
use seawall_disk::{Access, DiskFile};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Receives one snapshot; see [`Catalog::receive`](crate::Catalog::receive).
///
/// Used by one thread at a time; it blocks on the disk. Dropped before [`Receiver::finish`], it keeps the
/// received pieces: a receiver of the same offer continues from there, in this process or the next.
/// [`Receiver::discard`] removes them.
pub struct Receiver {
    offer: Offer,
    name: String,
    context: FileContext,
    checked: Checked,
    sink: Option<FileWriter>,
    failed: Option<Error>,
    reservation: Reservation,
}

/// The state of the pieces checked so far.
struct Checked {
    header: Option<Header>,
    /// Number of the next piece; `offset` is its offset in bytes.
    next: u32,
    offset: u64,
    raw_bytes: u64,
    digest: blake3::Hasher,
    decoder: Decoder,
    raw: Vec<u8>,
}

impl Checked {
    fn new() -> io::Result<Checked> {
        Ok(Checked {
            header: None,
            next: 0,
            offset: 0,
            raw_bytes: 0,
            digest: blake3::Hasher::new(),
            decoder: Decoder::new()?,
            raw: Vec::new(),
        })
    }

    /// Checks the next piece, and counts it if it is correct.
    fn take(&mut self, offer: &Offer, bytes: &[u8]) -> Result<(), PieceFault> {
        match self.header {
            None => self.take_opening(offer, bytes),
            Some(header) => Ok(self.take_chunk(offer, &header, bytes)?),
        }
    }

    fn take_opening(&mut self, offer: &Offer, bytes: &[u8]) -> Result<(), PieceFault> {
        let header = Header::decode(bytes)?;
        header.split_opening(bytes)?;
        if header.id != offer.id {
            return Err(Fault::Name.into());
        }
        if Offer::tag_of(bytes, &offer.trailer) != offer.tag {
            return Err(PieceFault::Foreign);
        }
        check_counts(&header, &offer.trailer)?;
        if file_bytes(&header, &offer.trailer) != Some(offer.file_bytes) {
            return Err(Fault::Counts.into());
        }
        self.header = Some(header);
        self.count(bytes);
        Ok(())
    }

    fn take_chunk(&mut self, offer: &Offer, header: &Header, bytes: &[u8]) -> Result<(), Fault> {
        let chunk = ChunkHeader::decode(bytes, header, self.next - 1)?;
        let stored = &bytes[CHUNK_HEADER_BYTES..];
        let raw_bytes = self.raw_bytes + u64::from(chunk.raw_bytes);
        let end = offer.file_bytes - TRAILER_BYTES as u64;
        if raw_bytes > offer.trailer.raw_bytes || self.offset + bytes.len() as u64 > end {
            return Err(Fault::Counts);
        }
        let packed = self.decoder.decode(header, &chunk, stored, &mut self.raw)?;
        self.digest.update(if packed { &self.raw } else { stored });
        self.raw_bytes = raw_bytes;
        self.count(bytes);
        Ok(())
    }

    fn count(&mut self, bytes: &[u8]) {
        self.next += 1;
        self.offset += bytes.len() as u64;
    }

    /// Checks that all pieces are here and together match the offer.
    fn check_whole(&self, offer: &Offer) -> Result<(), PieceFault> {
        if self.next != offer.piece_count() {
            return Err(PieceFault::Incomplete);
        }
        let end = offer.file_bytes - TRAILER_BYTES as u64;
        if self.raw_bytes != offer.trailer.raw_bytes || self.offset != end {
            return Err(Fault::Counts.into());
        }
        if *self.digest.finalize().as_bytes() != offer.trailer.digest {
            return Err(Fault::Digest.into());
        }
        Ok(())
    }
}

impl Receiver {
    /// Starts the transfer, or continues it. Removes all other transfers to the group except the latest.
    pub(crate) fn begin(mut reservation: Reservation, offer: &Offer) -> Result<Receiver, Error> {
        let store = Arc::clone(reservation.store());
        let refused = |fault| Error::Offer { path: store.path(), id: offer.id, fault };
        let max = store.options.receive_bytes_max;
        if offer.file_bytes > max {
            return Err(refused(OfferFault::TooLarge { bytes: offer.file_bytes, max }));
        }
        let own = (offer.id, offer.tag);
        let parts = store.state().parts.clone();
        let others = parts.iter().filter(|part| part.0.group == offer.id.group && **part != own);
        for (id, tag) in others.rev().skip(1) {
            store.remove_part(*id, *tag)?;
        }

        let name = name::receiving(offer.id, offer.tag);
        let context = FileContext::new(&store.path(), &name);
        let mut checked = Checked::new().map_err(|e| context.io("start", e))?;
        let there = if parts.contains(&own) { find(&store, &name, &context)? } else { None };
        let existing = match &there {
            Some(file) => file.len().map_err(|e| context.io("examine", e))?,
            None => 0,
        };
        let bytes = offer.file_bytes.saturating_sub(existing);
        let free = store.disk.free_bytes().map_err(|e| Error::io("examine", store.path(), e))?;
        reservation.promise(bytes, free).map_err(|free| refused(OfferFault::NoSpace { bytes, free }))?;

        let sync_bytes = store.options.sync_bytes;
        let sink = match there {
            Some(file) => {
                let mut state = store.state();
                state.parts.retain(|part| *part != own);
                state.parts.push(own);
                drop(state);
                let medium = Medium::new(Arc::clone(&file), store.disk.block_size());
                take_up(&*file, medium, &context, existing, offer, &mut checked)?;
                FileWriter::resume(file, context.clone(), checked.offset, sync_bytes)
            }
            None => {
                let sink = FileWriter::create(&*store.disk, &name, sync_bytes)?;
                store.state().parts.push(own);
                // Without this sync the file name could be lost in a power cut.
                store.disk.sync().map_err(|e| Error::io("sync", store.path(), e))?;
                sink
            }
        };
        Ok(Receiver { offer: *offer, name, context, checked, sink: Some(sink), failed: None, reservation })
    }

    /// Number of the next piece; the number of pieces once all are here.
    pub fn next(&self) -> u32 {
        self.checked.next
    }

    /// Bytes of content received so far, and in total.
    pub fn progress(&self) -> Progress {
        Progress { bytes: self.checked.raw_bytes, total: Some(self.offer.trailer.raw_bytes) }
    }

    /// Accepts the next piece.
    ///
    /// # Errors
    /// [`Error::Piece`] if it is not the next one, belongs to another transfer, or has wrong bytes; nothing has
    /// changed, and the correct one may follow. Any other error, of the disk, ends this receiver; if the disk
    /// is full ([`Error::is_no_space`]), the file is removed.
    pub fn accept(&mut self, piece: &Piece) -> Result<(), Error> {
        self.alive()?;
        let refused = |fault| Error::Piece { file: self.context.file(), number: piece.number, fault };
        let (expected, offset) = (self.checked.next, self.checked.offset);
        if piece.tag != self.offer.tag {
            return Err(refused(PieceFault::Foreign));
        }
        if piece.number != expected || expected == self.offer.piece_count() {
            return Err(refused(PieceFault::Order { expected }));
        }
        if piece.offset != offset {
            return Err(refused(PieceFault::Offset { expected: offset, found: piece.offset }));
        }
        self.checked.take(&self.offer, &piece.bytes).map_err(refused)?;
        let Some(sink) = &mut self.sink else { return Err(self.context.helper()) };
        sink.write(&piece.bytes).inspect_err(|error| self.fail(error))?;
        self.reservation.written(piece.bytes.len() as u64);
        Ok(())
    }

    /// Publishes the snapshot. When this returns, it is durable under its name and listed.
    ///
    /// # Errors
    /// [`Error::Piece`] if pieces are missing, and the received ones are kept; or if the whole does not match
    /// the offer, and the file is removed. Or the disk fails.
    pub fn finish(mut self) -> Result<Published, Error> {
        self.alive()?;
        if let Err(fault) = self.checked.check_whole(&self.offer) {
            if fault != PieceFault::Incomplete {
                self.remove();
            }
            return Err(Error::Piece { file: self.context.file(), number: self.checked.next, fault });
        }
        let trailer = self.offer.trailer;
        let Some(mut sink) = self.sink.take() else { return Err(self.context.helper()) };
        let written = sink.write(&trailer.encode()).and_then(|()| sink.sync()).and_then(|()| sink.len());
        let len = written.inspect_err(|error| self.fail(error))?;
        drop(sink);
        if len != self.offer.file_bytes {
            // The file has other bytes after the pieces.
            self.remove();
            let fault = PieceFault::Bytes(Fault::Counts);
            return Err(Error::Piece { file: self.context.file(), number: self.checked.next, fault });
        }
        let (id, store) = (self.offer.id, self.reservation.store());
        store.publish(&self.name, id)?;
        store.state().parts.retain(|part| *part != (id, self.offer.tag));
        let (raw_bytes, file_bytes) = (trailer.raw_bytes, self.offer.file_bytes);
        Ok(Published { id, raw_bytes, file_bytes, digest: trailer.digest })
    }

    /// Ends the transfer and removes the received data.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn discard(mut self) -> Result<(), Error> {
        self.sink = None;
        self.reservation.store().remove_part(self.offer.id, self.offer.tag)
    }

    fn alive(&self) -> Result<(), Error> {
        match &self.failed {
            Some(cause) => Err(Error::Stopped { cause: Arc::new(cause.clone()) }),
            None => Ok(()),
        }
    }

    /// Ends the receiver after an error of the disk. If the disk is full, removes the file to free its space.
    fn fail(&mut self, error: &Error) {
        self.failed = Some(error.clone());
        self.sink = None;
        if error.is_no_space() {
            self.remove();
        }
    }

    /// Removes the file. If that fails now, the next open finds the file.
    fn remove(&mut self) {
        self.sink = None;
        let _ = self.reservation.store().remove_part(self.offer.id, self.offer.tag);
    }
}

/// The file of an earlier receiver of the same transfer.
fn find(store: &Store, name: &str, context: &FileContext) -> Result<Option<Arc<dyn DiskFile>>, Error> {
    match store.disk.open(name, Access::Write) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(context.io("open", e)),
    }
}

/// Counts the pieces in the file, up to the first one that is damaged. Bytes after that are overwritten.
fn take_up(
    file: &dyn DiskFile,
    medium: Medium,
    context: &FileContext,
    len: u64,
    offer: &Offer,
    checked: &mut Checked,
) -> Result<(), Error> {
    // From here on, everything that is found is on the medium (INV-3).
    file.sync().map_err(|e| context.io("sync", e))?;
    file.drop_cache();
    if len < u64::from(offer.opening_bytes) {
        return Ok(());
    }
    let opening = match medium.read_vec(0, offer.opening_bytes as usize) {
        Ok(opening) => opening,
        Err(e) => return context.read(crate::error::FilePart::Opening, e).unless_damage(),
    };
    if checked.take(offer, &opening).is_err() {
        return Ok(());
    }
    let Some(header) = checked.header else { return Ok(()) };
    let end = len.min(offer.file_bytes - TRAILER_BYTES as u64);
    let count = offer.trailer.chunk_count;
    let mut frames = ChunkReader::new(medium, context.clone(), header, (0, checked.offset), (count, end));
    let mut frame = Frame::default();
    loop {
        frame = match frames.next(frame) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(error) => return error.unless_damage(),
        };
        if checked.take(offer, frame.bytes()).is_err() {
            return Ok(());
        }
    }
}

impl Error {
    /// Turns damage of received data into success, because the data is received again.
    fn unless_damage(self) -> Result<(), Error> {
        if self.is_damage() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("offer", &self.offer)
            .field("next", &self.checked.next)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
