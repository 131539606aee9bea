//! Tests the engine without a Raft core.

mod background_work;
mod compression;
mod contract;
mod corpus;
mod degraded;
mod first_steps;
mod golden;
mod interface;
mod limits;
mod model;
mod pinned;
mod readers;
mod rewrite;
mod rotten_payloads;
mod small_state;
