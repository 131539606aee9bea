//! The core may be looked at. Had it become the leader by itself, with entries in flight, it would panic.
use seawall::raft_rs::{Host, Pump};

fn misuse<H: Host>(pump: &mut Pump<H>) {
    pump.raft().become_candidate();
}

fn main() {}
