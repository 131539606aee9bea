//! Snapshots of groups.

mod crash;
mod retention;
mod support;
