//! Encodes and decodes the engine's bytes: the `meta` of a record, a conf state in a part, and the index in a
//! segment's footer.
//!
//! All integers are little-endian and of fixed width. Decoding accepts any bytes without a panic and allocates no
//! more than the length of the input justifies (INV-9). `docs/format.md` describes every byte.

mod columns;
mod conf_state;
mod error;
mod footer;
mod kind;
#[cfg(test)]
mod layout_tests;
mod op;

pub(crate) use columns::{FRAME, Frame, PLACE_BYTES, Place, Run, encode_frame};
pub(crate) use conf_state::{decode_conf_state, encode_conf_state};
pub use error::DecodeError;
pub(crate) use footer::{FOOTER_HEADER_BYTES, FOOTER_OP_BYTES, Footer, FooterHeader, FooterOp};
pub(crate) use op::{GroupOp, Op, decode, encode};
