//! A Raft core has one thread at a time.
use seawall::raft_rs::{Host, Pump};

fn two_threads(_one: impl FnOnce() + Send, _other: impl FnOnce() + Send) {}

fn misuse<H: Host + Send>(pump: &mut Pump<H>) {
    two_threads(|| drop(pump.poll()), || drop(pump.poll()));
}

fn main() {}
