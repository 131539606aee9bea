//! Tests the engine without a Raft core.

mod background_work;
mod compression;
mod contract;
mod corpus;
mod degraded;
mod first_steps;
mod golden;
#[path = "../../../wal/tests/format/golden_files.rs"]
mod golden_files;
mod interface;
mod limits;
mod model;
mod pinned;
mod readers;
mod rewrite;
mod rotten_payloads;
#[path = "../seeds/mod.rs"]
mod seeds;
mod simulated;
mod small_state;
