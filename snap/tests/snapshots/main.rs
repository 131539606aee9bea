//! Tests of snapshot files: writing, reading, damage, sending and receiving.

mod catalog;
mod corpus;
mod crash;
mod damage;
#[path = "../support/mod.rs"]
mod support;
mod transfer;
