//! The pump cannot run, and so cannot apply entries, while the caller borrows the host.
use seawall::raft_rs::{Host, Pump};

fn misuse<H: Host>(pump: &mut Pump<H>) {
    let host = pump.host_mut();
    let _ = pump.poll();
    host.send(Vec::new());
}

fn main() {}
