//! The header of a chunk, which states and protects the stored bytes that follow it.

use crate::format::fault::{Fault, crc, structure, within};
use crate::format::header::Header;
use crate::format::layout::{CHUNK_HEADER_BYTES, CHUNK_MAGIC, CRC_BYTES, RawChunk, ZSTD};
use zerocopy::IntoBytes;

/// The header before the stored bytes of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkHeader {
    /// Number of the chunk, from 0.
    pub index: u32,
    /// Size of the content, in bytes.
    pub raw_bytes: u32,
    /// Size of the stored bytes that follow.
    pub stored_bytes: u32,
    /// Whether the stored bytes are a zstd frame.
    pub zstd: bool,
    /// CRC-32C of the stored bytes.
    pub stored_crc: u32,
}

impl ChunkHeader {
    /// Makes the header of chunk `index` of the snapshot with `header`. The stored bytes are a zstd frame if
    /// they are shorter than `raw_bytes`.
    ///
    /// # Errors
    /// [`Fault`] if a size is out of range.
    pub fn new(header: &Header, index: u32, raw_bytes: u32, stored: &[u8]) -> Result<ChunkHeader, Fault> {
        let stored_bytes = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        let zstd = stored_bytes < raw_bytes;
        let chunk = ChunkHeader { index, raw_bytes, stored_bytes, zstd, stored_crc: crc(stored) };
        chunk.check(header, index)?;
        Ok(chunk)
    }

    fn check(&self, header: &Header, index: u32) -> Result<(), Fault> {
        if self.index != index {
            return Err(Fault::Chunk { expected: index, found: self.index });
        }
        within("raw_bytes", self.raw_bytes, 1, header.chunk_bytes_max)?;
        // A chunk that compression does not make smaller is stored uncompressed.
        let (min, max) = if self.zstd { (1, self.raw_bytes - 1) } else { (self.raw_bytes, self.raw_bytes) };
        within("stored_bytes", self.stored_bytes, min, max)
    }

    /// Encodes the header.
    pub fn encode(&self) -> [u8; CHUNK_HEADER_BYTES] {
        let mut raw = RawChunk {
            magic: CHUNK_MAGIC,
            index: self.index.into(),
            raw_bytes: self.raw_bytes.into(),
            stored_bytes: self.stored_bytes.into(),
            flags: if self.zstd { ZSTD } else { 0 }.into(),
            stored_crc: self.stored_crc.into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..CHUNK_HEADER_BYTES - CRC_BYTES]).into();
        zerocopy::transmute!(raw)
    }

    /// Decodes the header at the start of `bytes`, which must be that of chunk `index` of the snapshot with
    /// `header`.
    ///
    /// # Errors
    /// [`Fault`] if it is not.
    pub fn decode(bytes: &[u8], header: &Header, index: u32) -> Result<ChunkHeader, Fault> {
        let raw: RawChunk = structure(bytes, &CHUNK_MAGIC, |raw: &RawChunk| raw.crc)?;
        let flags = raw.flags.get();
        if flags & !ZSTD != 0 {
            return Err(Fault::Flags { flags });
        }
        let chunk = ChunkHeader {
            index: raw.index.get(),
            raw_bytes: raw.raw_bytes.get(),
            stored_bytes: raw.stored_bytes.get(),
            zstd: flags & ZSTD != 0,
            stored_crc: raw.stored_crc.get(),
        };
        chunk.check(header, index)?;
        Ok(chunk)
    }

    /// Checks the stored bytes that follow the header.
    ///
    /// # Errors
    /// [`Fault::Length`] or [`Fault::Checksum`].
    pub fn check_stored(&self, stored: &[u8]) -> Result<(), Fault> {
        let expected = self.stored_bytes as usize;
        if stored.len() != expected {
            return Err(Fault::Length { expected, found: stored.len() });
        }
        if crc(stored) != self.stored_crc { Err(Fault::Checksum) } else { Ok(()) }
    }
}
