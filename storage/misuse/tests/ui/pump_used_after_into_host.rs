//! `into_host` consumes the pump and ends the node.
use seawall::raft_rs::{Host, Pump};

fn misuse<H: Host>(mut pump: Pump<H>) {
    let _host = pump.into_host();
    let _ = pump.poll();
}

fn main() {}
