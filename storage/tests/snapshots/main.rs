//! Tests snapshots of Raft groups.

mod crash;
mod retention;
mod support;
