//! Snapshot files: written, read, damaged, sent, received.

mod catalog;
mod corpus;
mod crash;
mod damage;
#[path = "../support/mod.rs"]
mod support;
mod transfer;
