//! Tests that a creation that crashes, and crashes again when it is repeated, never leaves a directory that
//! neither `create` nor `open` accepts.

use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Error, Options, Threads, Wal};
use std::sync::Arc;

fn env(disk: &SimDisk, seed: u64) -> Env {
    Env {
        disk: disk.process(),
        clock: Arc::new(SimClock::new()),
        random: Arc::new(SimRandom::new(seed)),
        threads: Threads::Stepped,
    }
}

#[test]
fn two_crashes_during_creation_leave_what_can_be_created_or_opened() {
    let options = Options::default().with_segment_bytes(32 << 10);
    let mut cut = [0; 2];
    for seed in 0..40 {
        for first in 1..40 {
            let disk = SimDisk::new(seed * 1000 + first, SimOptions::default());
            for (attempt, after) in [first, 1 + seed % 20].into_iter().enumerate() {
                disk.crash_after(after);
                let made = Wal::create_in(env(&disk, seed), &options);
                cut[attempt] += u64::from(disk.crash_reached());
                drop(made);
                disk.crash();
            }
            let opened = match Wal::create_in(env(&disk, seed), &options) {
                Err(Error::AlreadyALog { .. }) => {
                    Wal::open_in(env(&disk, seed), &options).map(|(wal, _)| wal)
                }
                made => made,
            };
            let wal = opened.unwrap_or_else(|error| panic!("seed {seed}, cut at {first}: {error}"));
            wal.close().unwrap();
        }
    }
    assert!(cut.iter().all(|n| *n > 500), "{cut:?}: the crashes did not happen");
}
