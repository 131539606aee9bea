//! Tests the examples as programs that are started, killed and started again.

mod crash_workload;
mod kv_tcp;
mod openraft_kill;
mod raft_rs_kill;
mod three_nodes;
