//! The engine's bytes: what it puts in a record's `meta`, in a conf state part and in a segment's footer.
//! Place on the data's way: between a validated batch and the log, and between the log and replay.
//! Invariants: little-endian, fixed width, free of protobuf; decoding is total and allocates only what the
//! input's own length justifies (INV-9). Fails: with a small `Copy` error that names what is wrong and where.

mod conf_state;
mod footer;
#[cfg(test)]
mod layout_tests;
mod op;

pub(crate) use conf_state::{decode_conf_state, encode_conf_state};
pub(crate) use footer::{
    FOOTER_HEADER_BYTES, FOOTER_OP_BYTES, FOOTER_PLACE_BYTES, Footer, FooterHeader, FooterOp, FooterPlace,
};
pub(crate) use op::{GroupOp, Op, decode, encode};

/// Why bytes of the engine's encoding cannot be read. The bytes passed a checksum, so this is a record of
/// a newer version, or a fault in the program that wrote it; never a torn write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the fixed part does.
    #[error("{found} bytes where at least {needed} are needed")]
    TooShort {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        found: usize,
    },
    /// A version this program does not know.
    #[error("version {version} is not known")]
    Version {
        /// The version named.
        version: u16,
    },
    /// The length does not follow from the counts.
    #[error("{found} bytes where the counts call for {expected}")]
    Length {
        /// Bytes that the counts call for.
        expected: u64,
        /// Bytes there.
        found: usize,
    },
    /// A kind of operation this program does not know.
    #[error("operation {at} has kind {kind} ({}), which is not known", op::kind_name(*kind))]
    Kind {
        /// Position of the operation in the record, from 0.
        at: usize,
        /// The kind named.
        kind: u8,
    },
    /// A flag or a reserved field that must be zero is not.
    #[error("operation {at} has a reserved field that is not zero")]
    Reserved {
        /// Position of the operation in the record, from 0.
        at: usize,
    },
    /// An operation covers a number of parts that its kind does not allow.
    #[error("operation {at} covers {count} parts, which its kind does not allow")]
    Count {
        /// Position of the operation in the record, from 0.
        at: usize,
        /// Parts it claims.
        count: u32,
    },
    /// The operations together do not cover the record's parts exactly.
    #[error("the operations cover {covered} parts, the record has {found}")]
    Parts {
        /// Parts covered.
        covered: u64,
        /// Parts of the record.
        found: usize,
    },
}
