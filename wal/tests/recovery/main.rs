//! Tests of open after crashes and damage.

mod bounded_open;
mod copied_logs;
mod corruption;
mod crash_states;
mod create;
mod flips;
#[path = "../harness/mod.rs"]
mod harness;
mod kill_points;
mod model;
mod open_modes;
mod promises;
mod wrong_rules;
