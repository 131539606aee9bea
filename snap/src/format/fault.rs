//! Why bytes are refused, and the checks that every structure passes.

use crate::format::layout::{CRC_BYTES, VERSION};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

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
    crc32c::crc32c(bytes)
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
