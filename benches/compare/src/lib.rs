//! Code shared by the comparisons of the log and of the engine: bars, the opening of raft-engine, and the processor
//! time that other processes used.
//!
//! Code shared with `walbench` is in `seawall_harness`.

pub mod bar;
pub mod noise;
pub mod raft_engine;
