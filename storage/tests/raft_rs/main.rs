//! Tests the adapter for raft-rs.

mod cluster;
mod conformance;
mod fetch;
mod node;
mod pump;
#[path = "../random/mod.rs"]
mod random;
#[path = "../seeds/mod.rs"]
mod seeds;
mod snapshots;
mod suite;
#[path = "../snapshots/support.rs"]
mod support;
mod traps;
