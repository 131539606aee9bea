//! The locks, atomics, threads and futexes with which the log's threads synchronize.
//!
//! In a normal build these are re-exports of `parking_lot` and std. With `--cfg seawall_shuttle` they belong to a
//! scheduler that tries many interleavings (`wal/tests/shuttle.rs`); the code of the log is the same. A lock may come
//! from elsewhere if none of these is used while it is held. A futex may wake spuriously.

#[cfg(not(seawall_shuttle))]
mod native;
#[cfg(seawall_shuttle)]
mod shuttle;

#[cfg(not(seawall_shuttle))]
pub(crate) use native::*;
#[cfg(seawall_shuttle)]
pub(crate) use shuttle::*;
