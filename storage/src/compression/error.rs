//! The error of a compressed payload that cannot be decompressed.

/// Why a compressed payload cannot be decompressed. Its bytes passed their checksum, so this is a bug in the program
/// that wrote it or a build without zstd, never a torn write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The bytes end before the frame begins.
    #[error("{bytes} bytes are too short for a compressed payload")]
    TooShort {
        /// Number of bytes.
        bytes: usize,
    },
    /// The original length is out of range.
    #[error("a compressed payload says that it had {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// The stored original length.
        bytes: usize,
        /// Largest allowed length.
        max: usize,
    },
    /// The bytes are not a zstd frame, or the frame does not hold exactly the original number of bytes.
    #[error("the frame of a compressed payload cannot be decompressed to {bytes} bytes")]
    Frame {
        /// The original length in bytes.
        bytes: usize,
    },
    /// The decompressed payload does not have the checksum that was stored with it.
    #[error("the decompressed payload has the checksum {found:#010x}, and {stored:#010x} was stored with it")]
    Checksum {
        /// CRC-32C that was stored.
        stored: u32,
        /// CRC-32C of the decompressed payload.
        found: u32,
    },
    /// This build lacks the feature `zstd`.
    #[error("the payload is compressed, and this build has no zstd")]
    NoZstd,
}
