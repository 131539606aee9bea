//! The bytes of a snapshot: layouts, checksums, encoding and decoding, as pure functions of byte slices.
//!
//! Decoding is total, and every decoded length is within its limit, so that many bytes may be allocated
//! (INV-9).

mod chunk;
pub(crate) mod codec;
mod fault;
mod header;
mod layout;
pub(crate) mod name;
mod trailer;
pub(crate) mod wire;

pub use chunk::ChunkHeader;
pub use fault::Fault;
pub use header::{Header, encode_opening};
pub use layout::{
    BODY_BYTES_MAX, CHUNK_HEADER_BYTES, CHUNK_LIMIT_MAX, CHUNK_LIMIT_MIN, CHUNK_MAGIC, HEADER_BYTES,
    SNAPSHOT_MAGIC, TRAILER_BYTES, TRAILER_MAGIC, VERSION,
};
pub use trailer::Trailer;

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
