//! Only the pump can take a Ready: it must write it, send its messages and apply its entries in one order.
use seawall::raft_rs::{Host, Pump};

fn misuse<H: Host>(pump: &mut Pump<H>) {
    let _ready = pump.node.ready();
}

fn main() {}
