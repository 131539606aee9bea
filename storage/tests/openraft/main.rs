//! Tests the adapters for openraft 0.10 and 0.9.

mod cases;
mod cluster;
mod cluster_09;
#[path = "../openraft_09_machine/mod.rs"]
mod openraft_09_machine;
#[path = "../openraft_machine/mod.rs"]
mod openraft_machine;
#[path = "../openraft_simulation/mod.rs"]
mod openraft_simulation;
#[path = "../random/mod.rs"]
mod random;
#[path = "../seeds/mod.rs"]
mod seeds;
mod store;
mod store_09;
mod suite;
mod suite_09;
