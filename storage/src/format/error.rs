//! The error of bytes that cannot be decoded.

use super::kind::kind_name;

/// Why bytes of the engine's encoding cannot be decoded. They passed a checksum, so a later version wrote them or the
/// program that wrote them has a bug; it is never a torn write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the fixed part does.
    #[error("{found} bytes where at least {needed} are needed")]
    TooShort {
        /// Number of bytes needed.
        needed: usize,
        /// Number of bytes found.
        found: usize,
    },
    /// This program does not know the version.
    #[error("version {version} is not known")]
    Version {
        /// The version in the bytes.
        version: u16,
    },
    /// The length does not match the counts.
    #[error("{found} bytes where the counts call for {expected}")]
    Length {
        /// Number of bytes that the counts require.
        expected: u64,
        /// Number of bytes found.
        found: usize,
    },
    /// This program does not know the kind of an operation.
    #[error("operation {at} has kind {kind} ({}), which is not known", kind_name(*kind))]
    Kind {
        /// Position of the operation in the record, from 0.
        at: usize,
        /// The kind in the operation.
        kind: u8,
    },
    /// The payloads of an operation are sealed, and this program cannot open them.
    #[error("operation {at} has sealed payloads, which this build cannot open")]
    Sealed {
        /// Position of the operation in the record, from 0.
        at: usize,
    },
    /// A flag or reserved field that must be zero is not.
    #[error("operation {at} has a reserved field that is not zero")]
    Reserved {
        /// Position of the operation in the record, from 0.
        at: usize,
    },
    /// The number of parts of an operation is not one that its kind allows.
    #[error("operation {at} covers {count} parts, which its kind does not allow")]
    Count {
        /// Position of the operation in the record, from 0.
        at: usize,
        /// Number of parts in the operation.
        count: u32,
    },
    /// The operations together do not cover the parts of the record exactly.
    #[error("the operations cover {covered} parts, the record has {found}")]
    Parts {
        /// Number of parts that the operations cover.
        covered: u64,
        /// Number of parts of the record.
        found: usize,
    },
}
