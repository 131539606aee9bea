//! Tests the examples as programs that are started, killed and started again.

mod crash_workload;
mod example;
mod kv_tcp;
mod openraft_kill;
mod raft_rs_kill;
#[path = "../random/mod.rs"]
mod random;
#[path = "../seeds/mod.rs"]
mod seeds;
mod three_nodes;
