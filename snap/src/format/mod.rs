//! The bytes of a snapshot: layouts, checksums, encoding and decoding, as pure functions of byte slices.
//!
//! Decoding is total, and every decoded length is within its limit, so that many bytes may be allocated
//! (INV-9).

pub(crate) mod codec;
pub(crate) mod name;
pub(crate) mod wire;

use crate::types::SnapshotId;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of the format that this crate writes and reads.
pub const VERSION: u32 = 1;
/// First bytes of a snapshot.
pub const SNAPSHOT_MAGIC: [u8; 8] = *b"SEAWALSN";
/// First bytes of every chunk.
pub const CHUNK_MAGIC: [u8; 4] = *b"SWCH";
/// First bytes of the trailer.
pub const TRAILER_MAGIC: [u8; 4] = *b"SWTR";
/// Maximum size of the conf state, and of the metadata, in bytes; a reader may allocate this much for each.
pub const BODY_BYTES_MAX: u32 = 16 << 20;
/// Minimum value of a snapshot's chunk limit, in bytes of content.
pub const CHUNK_LIMIT_MIN: u32 = 4 << 10;
/// Maximum value of a snapshot's chunk limit, in bytes of content; a reader may allocate one chunk.
pub const CHUNK_LIMIT_MAX: u32 = 64 << 20;

/// Flag of a chunk: its stored bytes are a zstd frame.
pub(crate) const ZSTD: u32 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) flags: U32,
    pub(crate) group: U64,
    pub(crate) index: U64,
    pub(crate) term: U64,
    pub(crate) conf_state_bytes: U32,
    pub(crate) metadata_bytes: U32,
    pub(crate) chunk_bytes_max: U32,
    pub(crate) crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawChunk {
    pub(crate) magic: [u8; 4],
    pub(crate) index: U32,
    pub(crate) raw_bytes: U32,
    pub(crate) stored_bytes: U32,
    pub(crate) flags: U32,
    pub(crate) stored_crc: U32,
    pub(crate) crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawTrailer {
    pub(crate) magic: [u8; 4],
    pub(crate) chunk_count: U32,
    pub(crate) raw_bytes: U64,
    pub(crate) stored_bytes: U64,
    pub(crate) digest: [u8; 32],
    pub(crate) crc: U32,
}

/// Size of the snapshot header, in bytes.
pub const HEADER_BYTES: usize = size_of::<RawHeader>();
/// Size of a chunk header, in bytes.
pub const CHUNK_HEADER_BYTES: usize = size_of::<RawChunk>();
/// Size of the trailer, in bytes.
pub const TRAILER_BYTES: usize = size_of::<RawTrailer>();
pub(crate) const CRC_BYTES: usize = 4;

const _: () = assert!(HEADER_BYTES == 56 && std::mem::offset_of!(RawHeader, crc) == 52);
const _: () = assert!(CHUNK_HEADER_BYTES == 28 && std::mem::offset_of!(RawChunk, crc) == 24);
const _: () = assert!(TRAILER_BYTES == 60 && std::mem::offset_of!(RawTrailer, crc) == 56);

/// Why the bytes of a snapshot are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes end too early, or something follows them.
    #[error("{found} bytes where {expected} are expected")]
    Length {
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// The bytes do not start with the magic of this structure.
    #[error("these bytes start as something else")]
    Magic,
    /// Another version of the format wrote the bytes.
    #[error("snapshot version {found}; this build supports version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A checksum does not match.
    #[error("a checksum does not match")]
    Checksum,
    /// Flags that this version does not know.
    #[error("unknown flags {flags:#x}")]
    Flags {
        /// All flags found.
        flags: u32,
    },
    /// A length is out of range.
    #[error("{field} is {bytes}, must be {min} to {max}")]
    Limit {
        /// The field.
        field: &'static str,
        /// Its value.
        bytes: u32,
        /// Smallest value allowed.
        min: u32,
        /// Largest value allowed.
        max: u32,
    },
    /// The index is 0, which no entry has.
    #[error("a snapshot at index 0")]
    IndexZero,
    /// A chunk has another number than the next one.
    #[error("chunk {found} where {expected} is next")]
    Chunk {
        /// Number of the next chunk.
        expected: u32,
        /// Number found.
        found: u32,
    },
    /// A compressed chunk is not a single zstd frame of the length that its header states.
    #[error("the compressed bytes are not one frame of the length named")]
    Frame,
    /// A compressed chunk needs a larger window than the chunk limit.
    #[error("a zstd window of {bytes} bytes, at most {max} allowed")]
    Window {
        /// Window size requested, in bytes.
        bytes: u64,
        /// Maximum window size allowed, in bytes.
        max: u64,
    },
    /// Counts or sizes are inconsistent with each other or with the length of the file.
    #[error("counts and sizes do not agree with the file")]
    Counts,
    /// Every chunk passes its checksum, but the digest of the whole content is wrong.
    #[error("the digest of the whole does not match")]
    Digest,
    /// The name of the file belongs to another snapshot than its header.
    #[error("the name of the file is another snapshot's")]
    Name,
    /// The device cannot read the bytes.
    #[error("the device cannot read these bytes")]
    Unreadable,
}

pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

pub(crate) fn within(field: &'static str, bytes: u32, min: u32, max: u32) -> Result<(), Fault> {
    if (min..=max).contains(&bytes) { Ok(()) } else { Err(Fault::Limit { field, bytes, min, max }) }
}

/// Decodes the structure at the start of `bytes` after checking its magic and the checksum in its last four
/// bytes.
pub(crate) fn structure<T>(bytes: &[u8], magic: &[u8], stored: impl Fn(&T) -> U32) -> Result<T, Fault>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned + Copy,
{
    let size = size_of::<T>();
    let own = bytes.get(..size).ok_or(Fault::Length { expected: size, found: bytes.len() })?;
    let raw = *T::ref_from_bytes(own).map_err(|_| Fault::Length { expected: size, found: own.len() })?;
    if !own.starts_with(magic) {
        return Err(Fault::Magic);
    }
    if crc(&own[..size - CRC_BYTES]) != stored(&raw).get() {
        return Err(Fault::Checksum);
    }
    Ok(raw)
}

/// The start of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The snapshot.
    pub id: SnapshotId,
    /// Size of the conf state, in bytes.
    pub conf_state_bytes: u32,
    /// Size of the user's metadata, in bytes.
    pub metadata_bytes: u32,
    /// Maximum size of a chunk, in bytes of content.
    pub chunk_bytes_max: u32,
}

impl Header {
    fn check(&self) -> Result<(), Fault> {
        if self.id.index == 0 {
            return Err(Fault::IndexZero);
        }
        within("conf_state_bytes", self.conf_state_bytes, 0, BODY_BYTES_MAX)?;
        within("metadata_bytes", self.metadata_bytes, 0, BODY_BYTES_MAX)?;
        within("chunk_bytes_max", self.chunk_bytes_max, CHUNK_LIMIT_MIN, CHUNK_LIMIT_MAX)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut raw = RawHeader {
            magic: SNAPSHOT_MAGIC,
            version: VERSION.into(),
            flags: 0.into(),
            group: self.id.group.into(),
            index: self.id.index.into(),
            term: self.id.term.into(),
            conf_state_bytes: self.conf_state_bytes.into(),
            metadata_bytes: self.metadata_bytes.into(),
            chunk_bytes_max: self.chunk_bytes_max.into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..HEADER_BYTES - CRC_BYTES]).into();
        zerocopy::transmute!(raw)
    }

    /// Decodes the header at the start of `bytes`. The version is checked before the checksum, because a later
    /// version may use another checksum.
    ///
    /// # Errors
    /// [`Fault::Version`] for another version of the format; otherwise the fault that was found.
    pub fn decode(bytes: &[u8]) -> Result<Header, Fault> {
        if let Ok((raw, _)) = RawHeader::ref_from_prefix(bytes)
            && raw.magic == SNAPSHOT_MAGIC
            && raw.version.get() != VERSION
        {
            // Unless this version wrote the header and its version field is damaged, which the checksum shows.
            let meant = RawHeader { version: VERSION.into(), ..*raw };
            let damaged = crc(&meant.as_bytes()[..HEADER_BYTES - CRC_BYTES]) == raw.crc.get();
            return Err(if damaged { Fault::Checksum } else { Fault::Version { found: raw.version.get() } });
        }
        let raw: RawHeader = structure(bytes, &SNAPSHOT_MAGIC, |raw: &RawHeader| raw.crc)?;
        if raw.flags.get() != 0 {
            return Err(Fault::Flags { flags: raw.flags.get() });
        }
        let header = Header {
            id: SnapshotId { group: raw.group.get(), index: raw.index.get(), term: raw.term.get() },
            conf_state_bytes: raw.conf_state_bytes.get(),
            metadata_bytes: raw.metadata_bytes.get(),
            chunk_bytes_max: raw.chunk_bytes_max.get(),
        };
        header.check()?;
        Ok(header)
    }

    /// Bytes before the first chunk: header, conf state, metadata and their checksum.
    pub fn opening_bytes(&self) -> usize {
        HEADER_BYTES + self.conf_state_bytes as usize + self.metadata_bytes as usize + CRC_BYTES
    }

    /// Returns conf state and metadata of `opening`, which is everything before the first chunk, including this
    /// header.
    ///
    /// # Errors
    /// [`Fault`] if the length or the checksum is wrong, or the opening belongs to another header.
    pub fn split_opening<'a>(&self, opening: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Fault> {
        let wrong = Fault::Length { expected: self.opening_bytes(), found: opening.len() };
        if opening.len() != self.opening_bytes() {
            return Err(wrong);
        }
        let (covered, stored) = opening.split_last_chunk::<CRC_BYTES>().ok_or(wrong)?;
        if crc(covered) != u32::from_le_bytes(*stored) || !covered.starts_with(&self.encode()) {
            return Err(Fault::Checksum);
        }
        Ok(covered[HEADER_BYTES..].split_at(self.conf_state_bytes as usize))
    }
}

/// Encodes everything before the first chunk of a snapshot.
///
/// # Errors
/// [`Fault`] if a value is out of range.
pub fn encode_opening(
    id: SnapshotId,
    chunk_bytes_max: u32,
    conf_state: &[u8],
    metadata: &[u8],
) -> Result<Vec<u8>, Fault> {
    let narrow = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (conf_state_bytes, metadata_bytes) = (narrow(conf_state), narrow(metadata));
    let header = Header { id, conf_state_bytes, metadata_bytes, chunk_bytes_max };
    header.check()?;
    let mut opening = Vec::with_capacity(header.opening_bytes());
    opening.extend_from_slice(&header.encode());
    opening.extend_from_slice(conf_state);
    opening.extend_from_slice(metadata);
    let sum = crc(&opening);
    opening.extend_from_slice(&sum.to_le_bytes());
    Ok(opening)
}

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

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
