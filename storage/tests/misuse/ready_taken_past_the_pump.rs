//! Whoever takes a Ready has to write it, send its messages and apply its entries in one order: the pump does.
use seawall::raft_rs::{Host, Pump};

fn misuse<H: Host>(pump: &mut Pump<H>) {
    let _ready = pump.node.ready();
}

fn main() {}
