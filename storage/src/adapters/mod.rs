//! Implementations of the storage traits of Raft libraries on top of the engine.

#[cfg(any(feature = "openraft", feature = "openraft-09"))]
pub mod openraft;
#[cfg(feature = "raft-rs")]
pub mod raft_rs;
