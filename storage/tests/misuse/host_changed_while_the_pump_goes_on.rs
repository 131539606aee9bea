//! Between two looks at the state machine nothing is applied to it.
use seawall::raft_rs::{Host, Pump};

fn misuse<H: Host>(pump: &mut Pump<H>) {
    let host = pump.host_mut();
    let _ = pump.poll();
    host.send(Vec::new());
}

fn main() {}
