//! A pump cannot be cloned: two pumps on one group would each take the other's entries for their own.
use seawall::raft_rs::{Host, Pump};

fn misuse<H: Host + Clone>(pump: Pump<H>) {
    let _second = pump.clone();
}

fn main() {}
