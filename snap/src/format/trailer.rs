//! The trailer of a snapshot.

use crate::format::fault::{Fault, crc, structure};
use crate::format::layout::{CRC_BYTES, RawTrailer, TRAILER_BYTES, TRAILER_MAGIC};
use zerocopy::IntoBytes;

/// The end of a snapshot: totals and digest over all chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trailer {
    /// Number of chunks.
    pub chunk_count: u32,
    /// Size of the content of all chunks, in bytes.
    pub raw_bytes: u64,
    /// Size of the stored bytes of all chunks, without their headers.
    pub stored_bytes: u64,
    /// BLAKE3 digest of the content of all chunks in order.
    pub digest: [u8; 32],
}

impl Trailer {
    /// Encodes the trailer.
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut raw = RawTrailer {
            magic: TRAILER_MAGIC,
            chunk_count: self.chunk_count.into(),
            raw_bytes: self.raw_bytes.into(),
            stored_bytes: self.stored_bytes.into(),
            digest: self.digest,
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..TRAILER_BYTES - CRC_BYTES]).into();
        zerocopy::transmute!(raw)
    }

    /// Decodes the trailer in `bytes`, which must contain nothing else.
    ///
    /// # Errors
    /// [`Fault`] if the bytes are not a trailer.
    pub fn decode(bytes: &[u8]) -> Result<Trailer, Fault> {
        if bytes.len() > TRAILER_BYTES {
            return Err(Fault::Length { expected: TRAILER_BYTES, found: bytes.len() });
        }
        let raw: RawTrailer = structure(bytes, &TRAILER_MAGIC, |raw: &RawTrailer| raw.crc)?;
        Ok(Trailer {
            chunk_count: raw.chunk_count.get(),
            raw_bytes: raw.raw_bytes.get(),
            stored_bytes: raw.stored_bytes.get(),
            digest: raw.digest,
        })
    }
}
