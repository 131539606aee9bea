//! The bytes of a transfer: an offer, then pieces in order.
//!
//! Decoding is total, allocates no more than the size of its input, and accepts only values within the format's
//! limits (INV-9).

use crate::format::fault::{Fault, crc, structure, within};
use crate::format::layout::{
    BODY_BYTES_MAX, CHUNK_HEADER_BYTES, CHUNK_LIMIT_MAX, CRC_BYTES, HEADER_BYTES, TRAILER_BYTES, VERSION,
};
use crate::format::trailer::Trailer;
use crate::types::SnapshotId;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of an offer.
pub(crate) const OFFER_MAGIC: [u8; 4] = *b"SWOF";
/// First bytes of a piece.
pub(crate) const PIECE_MAGIC: [u8; 4] = *b"SWPC";
/// Maximum size of a piece without its header, in bytes: a receiver has to hold one.
pub(crate) const PIECE_BYTES_MAX: u32 = CHUNK_LIMIT_MAX + 28;
const _: () = assert!(CHUNK_HEADER_BYTES == 28);
/// Minimum size of an opening, in bytes: without conf state and metadata.
const OPENING_BYTES_MIN: u32 = 60;
const _: () = assert!(HEADER_BYTES + CRC_BYTES == 60);
const OPENING_BYTES_MAX: u32 = OPENING_BYTES_MIN + 2 * BODY_BYTES_MAX;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawOffer {
    pub(crate) magic: [u8; 4],
    pub(crate) version: U32,
    pub(crate) group: U64,
    pub(crate) index: U64,
    pub(crate) term: U64,
    pub(crate) tag: U64,
    pub(crate) file_bytes: U64,
    pub(crate) raw_bytes: U64,
    pub(crate) stored_bytes: U64,
    pub(crate) digest: [u8; 32],
    pub(crate) chunk_count: U32,
    pub(crate) opening_bytes: U32,
    pub(crate) flags: U32,
    pub(crate) crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawPiece {
    pub(crate) magic: [u8; 4],
    pub(crate) number: U32,
    pub(crate) tag: U64,
    pub(crate) offset: U64,
    pub(crate) length: U32,
    pub(crate) bytes_crc: U32,
    pub(crate) crc: U32,
}

pub(crate) const OFFER_BYTES: usize = size_of::<RawOffer>();
pub(crate) const PIECE_HEADER_BYTES: usize = size_of::<RawPiece>();
const _: () = assert!(OFFER_BYTES == 112 && std::mem::offset_of!(RawOffer, crc) == 108);
const _: () = assert!(PIECE_HEADER_BYTES == 36 && std::mem::offset_of!(RawPiece, crc) == 32);

/// Describes a snapshot that a sender has. It lets a receiver check every piece, and recognize the transfer
/// after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    pub(crate) id: SnapshotId,
    pub(crate) tag: u64,
    pub(crate) file_bytes: u64,
    pub(crate) opening_bytes: u32,
    pub(crate) trailer: Trailer,
}

impl Offer {
    /// The snapshot.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// BLAKE3 digest of the content.
    pub fn digest(&self) -> [u8; 32] {
        self.trailer.digest
    }

    /// Size of the file that is sent, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Number of pieces: the opening, then one for each chunk.
    pub fn piece_count(&self) -> u32 {
        self.trailer.chunk_count.saturating_add(1)
    }

    /// The tag that identifies the pieces of exactly this file.
    pub(crate) fn tag_of(opening: &[u8], trailer: &Trailer) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(opening).update(&trailer.encode());
        let bytes = hasher.finalize();
        bytes.as_bytes().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
    }

    /// Encodes the offer for a connection.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = RawOffer {
            magic: OFFER_MAGIC,
            version: VERSION.into(),
            group: self.id.group.into(),
            index: self.id.index.into(),
            term: self.id.term.into(),
            tag: self.tag.into(),
            file_bytes: self.file_bytes.into(),
            raw_bytes: self.trailer.raw_bytes.into(),
            stored_bytes: self.trailer.stored_bytes.into(),
            digest: self.trailer.digest,
            chunk_count: self.trailer.chunk_count.into(),
            opening_bytes: self.opening_bytes.into(),
            flags: 0.into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..OFFER_BYTES - CRC_BYTES]).into();
        raw.as_bytes().to_vec()
    }

    /// Decodes the offer in `bytes`, which must contain nothing else.
    ///
    /// # Errors
    /// [`Fault`] if the bytes are not an offer within the format's limits.
    pub fn decode(bytes: &[u8]) -> Result<Offer, Fault> {
        if bytes.len() > OFFER_BYTES {
            return Err(Fault::Length { expected: OFFER_BYTES, found: bytes.len() });
        }
        let raw: RawOffer = structure(bytes, &OFFER_MAGIC, |raw: &RawOffer| raw.crc)?;
        if raw.version.get() != VERSION {
            return Err(Fault::Version { found: raw.version.get() });
        }
        if raw.flags.get() != 0 {
            return Err(Fault::Flags { flags: raw.flags.get() });
        }
        let trailer = Trailer {
            chunk_count: raw.chunk_count.get(),
            raw_bytes: raw.raw_bytes.get(),
            stored_bytes: raw.stored_bytes.get(),
            digest: raw.digest,
        };
        let offer = Offer {
            id: SnapshotId { group: raw.group.get(), index: raw.index.get(), term: raw.term.get() },
            tag: raw.tag.get(),
            file_bytes: raw.file_bytes.get(),
            opening_bytes: raw.opening_bytes.get(),
            trailer,
        };
        offer.check()?;
        Ok(offer)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.id.index == 0 {
            return Err(Fault::IndexZero);
        }
        within("opening_bytes", self.opening_bytes, OPENING_BYTES_MIN, OPENING_BYTES_MAX)?;
        within("chunk_count", self.trailer.chunk_count, 0, u32::MAX - 1)?;
        let headers = u64::from(self.trailer.chunk_count) * CHUNK_HEADER_BYTES as u64;
        let ends = u64::from(self.opening_bytes) + TRAILER_BYTES as u64 + headers;
        match self.trailer.stored_bytes.checked_add(ends) {
            Some(bytes) if bytes == self.file_bytes => Ok(()),
            _ => Err(Fault::Counts),
        }
    }
}

/// A part of a snapshot's file. Piece 0 is everything before the first chunk; piece n is chunk n - 1 with its
/// header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    pub(crate) tag: u64,
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Piece {
    /// Largest size of an encoded piece, in bytes.
    pub const ENCODED_BYTES_MAX: usize = PIECE_HEADER_BYTES + PIECE_BYTES_MAX as usize;

    /// Number of the piece, from 0.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Offset of the piece in the file, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes of the piece, as they are in the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Encodes the piece for a connection, including its checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = RawPiece {
            magic: PIECE_MAGIC,
            number: self.number.into(),
            tag: self.tag.into(),
            offset: self.offset.into(),
            length: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).into(),
            bytes_crc: crc(&self.bytes).into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..PIECE_HEADER_BYTES - CRC_BYTES]).into();
        let mut encoded = Vec::with_capacity(PIECE_HEADER_BYTES + self.bytes.len());
        encoded.extend_from_slice(raw.as_bytes());
        encoded.extend_from_slice(&self.bytes);
        encoded
    }

    /// Decodes the piece in `bytes`, which must contain nothing else.
    ///
    /// # Errors
    /// [`Fault`] if the bytes are not a piece within the format's limits, or fail their checksum.
    pub fn decode(bytes: &[u8]) -> Result<Piece, Fault> {
        let raw: RawPiece = structure(bytes, &PIECE_MAGIC, |raw: &RawPiece| raw.crc)?;
        within("length", raw.length.get(), 1, PIECE_BYTES_MAX)?;
        let (body, expected) = (&bytes[PIECE_HEADER_BYTES..], raw.length.get() as usize);
        if body.len() != expected {
            return Err(Fault::Length { expected, found: body.len() });
        }
        if crc(body) != raw.bytes_crc.get() {
            return Err(Fault::Checksum);
        }
        let (tag, number, offset) = (raw.tag.get(), raw.number.get(), raw.offset.get());
        Ok(Piece { tag, number, offset, bytes: body.to_vec() })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
