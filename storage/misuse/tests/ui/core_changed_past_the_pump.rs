//! The pump shares its core for reading only: a core that becomes leader with entries in flight would panic.
use seawall::raft_rs::{Host, Pump};

fn misuse<H: Host>(pump: &mut Pump<H>) {
    pump.raft().become_candidate();
}

fn main() {}
