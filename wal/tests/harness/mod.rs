//! Provides the tests of this folder with environments, records of known content, a gate for threads, and a
//! watchdog.

#![allow(dead_code, reason = "every test file uses its own part of it")]

use seawall_wal::disk::sim::{CallOp, HookDisk, SimDisk, SimRandom};
use seawall_wal::disk::{
    Disk,
    clock::{Clock, SystemClock},
};
use seawall_wal::{
    Env, Error, Lsn, Options, PartInfo, RecordBuilder, Threads, Wal, segments::SegmentIndexBuilder,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Whether the tests that enumerate cases run all of them (`SEAWALL_FULL=1`), or the part that takes seconds.
pub fn full() -> bool {
    std::env::var_os("SEAWALL_FULL").is_some()
}

/// Aborts the test process if a test runs for a minute, so that a hang is a failure.
pub struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    pub fn new(what: &'static str) -> Watchdog {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            eprintln!("{what}: hangs");
            std::process::abort();
        });
        Watchdog(done)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An environment with `disk`, the system's clock, and random numbers from a fixed seed.
pub fn env(disk: Arc<dyn Disk>, threads: Threads) -> Env {
    Env {
        disk,
        clock: Arc::new(SystemClock::new()) as Arc<dyn Clock>,
        random: Arc::new(SimRandom::new(7)),
        threads,
    }
}

pub fn stepped(disk: &Arc<SimDisk>) -> Env {
    env(disk.process(), Threads::Stepped)
}

pub fn spawned(disk: &Arc<SimDisk>) -> Env {
    env(disk.process(), Threads::Spawned)
}

/// `env` with a disk that counts the changes of bytes and names, and that count.
pub fn counting_changes(env: Env) -> (Env, Arc<AtomicU64>) {
    let changes = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&changes);
    let disk = HookDisk::new(Arc::clone(&env.disk), move |call| {
        if matches!(call.op, CallOp::Write | CallOp::Allocate | CallOp::Rename | CallOp::Remove) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    (Env { disk, ..env }, changes)
}

/// Options with small segments, so that a few records fill several.
pub fn small() -> Options {
    Options::default().with_segment_bytes(64 << 10).with_idle_ms(5)
}

/// A record with the number `id` as its `meta`, and `bytes` of payload, none of them zero.
pub fn record(id: u64, bytes: usize) -> RecordBuilder {
    let mut batch = RecordBuilder::new();
    batch.meta().extend(id.to_le_bytes());
    batch.push_part(&vec![fill(id); bytes]);
    batch
}

pub fn fill(id: u64) -> u8 {
    u8::try_from(id % 255).unwrap() + 1
}

/// Reads all records, checks their content, and returns their numbers.
pub fn ids(wal: &Wal) -> Vec<u64> {
    try_ids(wal).unwrap()
}

pub fn try_ids(wal: &Wal) -> Result<Vec<u64>, Error> {
    wal.records(Lsn::ZERO)
        .map(|record| {
            let record = record?;
            let id = u64::from_le_bytes(record.meta().try_into().unwrap());
            assert!(record.parts().all(|(_, part)| part.iter().all(|&b| b == fill(id))), "record {id}");
            Ok(id)
        })
        .collect()
}

/// An index builder whose index has 16 bytes for each record. The records have to reserve them.
#[derive(Default)]
pub struct SixteenBytes(usize);

impl SegmentIndexBuilder for SixteenBytes {
    fn record(&mut self, _: Lsn, _: &[u8], _: &mut dyn Iterator<Item = PartInfo>) {
        self.0 += 16;
    }

    fn seal(&mut self, _: u32, out: &mut Vec<u8>) {
        out.resize(std::mem::take(&mut self.0), 0xF0);
    }
}

/// A gate that blocks the threads that come to it until it is opened.
#[derive(Default)]
pub struct Gate {
    state: Mutex<(bool, u32)>,
    changed: Condvar,
}

impl Gate {
    /// Waits until the gate is open.
    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }

    /// Waits until a thread has come to the gate.
    pub fn wait_for_one(&self) {
        let mut state = self.state.lock().unwrap();
        while state.1 == 0 {
            state = self.changed.wait(state).unwrap();
        }
    }
}

pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
