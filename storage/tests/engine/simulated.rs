//! Provides the environment of an engine that has a simulated disk and no threads.

use std::sync::Arc;

use seawall_wal::disk::sim::{SimClock, SimDisk, SimRandom};
use seawall_wal::{Env, Threads};

/// Returns the environment of a new process on `disk`.
pub fn stepped(disk: &Arc<SimDisk>) -> Env {
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(3)));
    Env { disk: disk.process(), clock, random, threads: Threads::Stepped }
}
