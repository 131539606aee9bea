//! The locks, atomics, threads and futexes that the log's threads meet on; nothing else is taken from here.
//!
//! Built as usual these are `parking_lot`'s and std's own, by re-export. Under `--cfg seawall_shuttle` they
//! are a scheduler's, which tries one interleaving after the other (`wal/tests/shuttle.rs`): the log is the same.
//! A lock that is held across none of these may stay outside. A futex word fails by waking too often.

#[cfg(not(seawall_shuttle))]
mod native;
#[cfg(seawall_shuttle)]
mod shuttle;

#[cfg(not(seawall_shuttle))]
pub(crate) use native::*;
#[cfg(seawall_shuttle)]
pub(crate) use shuttle::*;
