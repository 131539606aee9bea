//! One thread at a time may use a Raft core, so two threads cannot poll the same pump.
use seawall::raft_rs::{Host, Pump};

fn two_threads(_one: impl FnOnce() + Send, _other: impl FnOnce() + Send) {}

fn misuse<H: Host + Send>(pump: &mut Pump<H>) {
    two_threads(|| drop(pump.poll()), || drop(pump.poll()));
}

fn main() {}
