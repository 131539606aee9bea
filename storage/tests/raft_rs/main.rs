//! Tests the adapter for raft-rs.

mod cluster;
mod conformance;
mod fetch;
mod node;
mod pump;
mod snapshots;
mod suite;
#[path = "../snapshots/support.rs"]
mod support;
mod traps;
