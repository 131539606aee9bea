//! A log as openraft asks for it, on one group of the engine: what its two lines have in common.
//! Place on the data's way: below `openraft` and `openraft_09`, which translate; depends on neither of the crates.
//! Invariants: votes and entries are written in one order, that of the calls; callbacks come in that order and
//! none is dropped; nothing here waits on the thread of a caller. Fails: with one error type, for good.
//!
//! How a log lies in the engine (`docs/decisions/0015-openraft.md`): the core's index *i* is the engine's *i* + 1,
//! since the core counts from 0. An entry's payload is the whole entry, its log id included. The engine's term
//! of an entry is the *epoch* of its leader, counted here: a leader is more than a number, and of one that a
//! core knows only the order is certain. Vote and purged log id are the last entry of a second group, whose
//! number has the top bit set, so they are in the same log; the committed index is the hard state's.

mod codec;
mod error;
mod log;
mod log_id;
mod stores;
#[cfg(test)]
mod tests;
#[cfg(feature = "openraft")]
pub mod v0_10;
#[cfg(feature = "openraft-09")]
pub mod v0_9;

pub use codec::CodecError;
pub use error::Error;
pub(crate) use error::Result;
pub(crate) use log::open::Types;
pub(crate) use log::read::LogReads;
pub(crate) use log::write::LogWrites;
pub(crate) use log_id::Id;
pub use stores::{LogOptions, LogStores};
