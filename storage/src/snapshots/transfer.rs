//! Moves a snapshot from one node to another over a connection of the caller's.
//!
//! The receiver sends the offer that it got and the number of the first piece that it lacks; the sender answers with the
//! pieces. Each message is its length in four bytes, least significant first, and then its bytes. Every piece carries its
//! own checksum, and the snapshot is read back in full before it counts.

use std::io::{self, Read, Write};
use std::sync::Arc;

use seawall_snap::{Offer, Piece, SnapshotId};

use super::error::{Error, Result};
use super::handle::Snapshots;

/// Largest request, in bytes.
const REQUEST_BYTES_MAX: usize = 1024;

impl Snapshots {
    /// Answers a peer that calls [`Snapshots::fetch`] at the other end of `stream`: reads which snapshot it wants and from
    /// which piece on, and sends the pieces. Returns the snapshot once all are sent; whether they arrived only the peer
    /// knows.
    ///
    /// Blocks on the disk and the connection, so call it on a thread of its own. Set timeouts on `stream`: the call waits
    /// as long as it does. The snapshot is kept while it is sent.
    ///
    /// # Errors
    /// [`Error::Stream`] if the connection fails or the peer does not send a request; [`Error::OtherGroup`]; the errors of
    /// [`Catalog::export`](crate::snapshots::snap::Catalog::export), of which the peer is told: it gets
    /// [`Error::NotSent`].
    pub fn send(&self, stream: &mut (impl Read + Write)) -> Result<SnapshotId> {
        let mut request = Vec::new();
        receive(stream, REQUEST_BYTES_MAX, &mut request)?;
        let (offer, next) = decode_request(&request).ok_or_else(|| Error::Stream(Arc::new(invalid())))?;
        match self.send_from(&offer, next, stream) {
            Err(error @ (Error::OtherGroup { .. } | Error::NotHere { .. } | Error::Catalog(_))) => {
                // An empty message in place of a piece.
                transmit(stream, &[])?;
                Err(error)
            }
            sent => sent.map(|()| offer.id()),
        }
    }

    fn send_from(&self, offer: &Offer, next: u32, stream: &mut impl Write) -> Result<()> {
        let id = offer.id();
        if id.group != self.group() {
            return Err(Error::OtherGroup { group: self.group(), id });
        }
        let export = self.catalog().export(id)?;
        if export.offer() != offer {
            // There is another snapshot of this entry now.
            return Err(Error::NotHere { id });
        }
        for piece in export.pieces(next)? {
            transmit(stream, &piece?.encode())?;
        }
        stream.flush().map_err(|error| Error::Stream(Arc::new(error)))
    }

    /// Fetches the snapshot of `offer` from the peer that offered it, which calls [`Snapshots::send`] at the other end of
    /// `stream`. When this returns, the snapshot is durable and verified, and can be installed: for a raft-rs node, step
    /// the message of the offer again.
    ///
    /// Blocks on the disk and the connection, so call it on a thread of its own. After a failure, a later call for the
    /// same offer continues after the last piece that arrived.
    ///
    /// # Errors
    /// [`Error::Stream`] if the connection fails; [`Error::NotSent`] if the peer cannot send it; the errors of
    /// [`Snapshots::receive`] and [`Incoming::accept`](crate::snapshots::Incoming::accept).
    pub fn fetch(&self, offer: &Offer, stream: &mut (impl Read + Write)) -> Result<()> {
        let Some(mut incoming) = self.receive(offer)? else { return Ok(()) };
        transmit(stream, &encode_request(offer, incoming.next()))?;
        stream.flush().map_err(|error| Error::Stream(Arc::new(error)))?;
        let mut bytes = Vec::new();
        while incoming.next() < offer.piece_count() {
            receive(stream, Piece::ENCODED_BYTES_MAX, &mut bytes)?;
            if bytes.is_empty() {
                return Err(Error::NotSent { id: offer.id() });
            }
            let piece = Piece::decode(&bytes).map_err(|fault| {
                Error::Stream(Arc::new(io::Error::new(io::ErrorKind::InvalidData, fault)))
            })?;
            incoming.accept(&piece)?;
        }
        incoming.finish()?;
        Ok(())
    }
}

fn encode_request(offer: &Offer, next: u32) -> Vec<u8> {
    let mut bytes = next.to_le_bytes().to_vec();
    bytes.extend(offer.encode());
    bytes
}

fn decode_request(bytes: &[u8]) -> Option<(Offer, u32)> {
    let (next, offer) = bytes.split_first_chunk()?;
    Some((Offer::decode(offer).ok()?, u32::from_le_bytes(*next)))
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a request for a snapshot")
}

/// Sends one message.
fn transmit(stream: &mut impl Write, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let sent = stream.write_all(&length).and_then(|()| stream.write_all(bytes));
    sent.map_err(|error| Error::Stream(Arc::new(error)))
}

/// Receives one message of up to `most` bytes into `bytes`. Allocates only for bytes that have arrived.
fn receive(stream: &mut impl Read, most: usize, bytes: &mut Vec<u8>) -> Result<()> {
    let mut length = [0; 4];
    bytes.clear();
    let received = stream.read_exact(&mut length).and_then(|()| {
        let length = u32::from_le_bytes(length);
        if usize::try_from(length).is_ok_and(|length| length > most) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
        }
        let read = stream.take(length.into()).read_to_end(bytes)?;
        if read < length as usize { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    });
    received.map_err(|error| Error::Stream(Arc::new(error)))
}
