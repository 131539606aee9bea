//! The log store for openraft on one group of the engine: the code that both supported versions share.
//!
//! The modules `v0_10` and `v0_9` translate the traits; nothing here depends on either version of openraft.
//! Votes and entries are written in the order of the calls. Callbacks come in that order, and none is dropped.
//! Nothing here blocks the thread of a caller. The first error of the log is permanent.
//!
//! Layout in the engine (`docs/decisions/0015-openraft.md`): the core counts indexes from 0, so its index *i*
//! is index *i* + 1 of the engine. The payload of an entry is the whole entry, including its log id. The
//! engine's term of an entry is the *epoch* of its leader, which this adapter counts: a leader is more than a
//! number, and the adapter can rely only on the order of the leaders. The vote and the purged log id are the
//! last entry of a second group in the same log, whose id has the top bit set. The committed index is in the
//! hard state.

mod blocking;
mod codec;
mod error;
mod log;
mod log_id;
#[cfg(feature = "snapshots")]
mod snapshots;
mod stores;
#[cfg(test)]
mod tests;
#[cfg(feature = "openraft")]
pub mod v0_10;
#[cfg(feature = "openraft-09")]
pub mod v0_9;
