//! A host belongs to one pump: two pumps would apply two groups to one state machine.
use seawall::raft_rs::{Host, Pump, PumpOptions, raft::Config};
use seawall::Engine;

fn misuse<H: Host>(engine: &Engine, config: &Config, host: H) {
    let _first = Pump::new(engine, 1, config, host, PumpOptions::default());
    let _second = Pump::new(engine, 2, config, host, PumpOptions::default());
}

fn main() {}
