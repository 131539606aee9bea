//! The layout of a snapshot's bytes: magic numbers, limits, and the structures as they are stored.

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
