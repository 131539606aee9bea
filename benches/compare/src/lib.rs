//! What the comparison of the log and that of the engine share: bars, raft-engine as both open it, and how
//! much of the processors others used meanwhile.
//!
//! What is shared with `walbench` is in `seawall_tools::bench`.

pub mod bar;
pub mod noise;
pub mod raft_engine;
