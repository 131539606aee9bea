//! Counts the instructions of three steps: encoding a record, appending it, and scanning a log of such records.
//!
//! They run on the simulated disk, on one thread and with a fixed seed, so that counts differ only if the code does.
//! Only the function itself is counted, not its `setup`.

use gungraun::prelude::*;
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::inspect::inspect;
use seawall_wal::{RecordBuilder, Durability, Env, Options, Threads, Wal};
use std::hint::black_box;
use std::sync::Arc;

/// Records of one measurement, enough to make the one-time cost of a group a small share.
const RECORDS: usize = 100;
const SEED: u64 = 7;

fn fill(batch: &mut RecordBuilder, payload: &[u8]) {
    batch.clear();
    batch.meta().extend_from_slice(&[1; 48]);
    batch.push_part(payload);
}

fn batch(bytes: usize) -> (RecordBuilder, Vec<u8>) {
    let (mut batch, payload) = (RecordBuilder::new(), vec![7; bytes]);
    // The builder has already allocated its memory, like one that is reused.
    fill(&mut batch, &payload);
    (batch, payload)
}

fn log(disk: &Arc<SimDisk>) -> Wal {
    let env = Env {
        disk: disk.process(),
        clock: Arc::new(SimClock::new()),
        random: Arc::new(SimRandom::new(SEED)),
        threads: Threads::Stepped,
    };
    let options = Options::default().with_segment_bytes(1 << 20);
    Wal::create_in(env, &options).expect("create a log")
}

fn empty_log(bytes: usize) -> (Wal, RecordBuilder, Vec<u8>) {
    let (batch, payload) = batch(bytes);
    (log(&SimDisk::new(SEED, SimOptions::default())), batch, payload)
}

fn full_log(bytes: usize) -> Arc<SimDisk> {
    let disk = SimDisk::new(SEED, SimOptions::default());
    let wal = log(&disk);
    let (mut batch, payload) = batch(bytes);
    for _ in 0..RECORDS {
        fill(&mut batch, &payload);
        drop(wal.append(&batch, Durability::Lazy).expect("append"));
    }
    wal.close().expect("close");
    disk
}

// Builds records from a payload, checksums included.
#[library_benchmark]
#[benches::bytes(args = [256, 4096], setup = batch)]
fn encode((mut batch, payload): (RecordBuilder, Vec<u8>)) -> u32 {
    fill(&mut batch, black_box(&payload));
    black_box(batch.head_crc(Durability::Sync))
}

// Appends that wait for nothing.
#[library_benchmark]
#[benches::bytes(args = [256, 4096], setup = empty_log)]
fn append((wal, mut batch, payload): (Wal, RecordBuilder, Vec<u8>)) -> Wal {
    for _ in 0..RECORDS {
        fill(&mut batch, black_box(&payload));
        drop(wal.append(&batch, Durability::Lazy).expect("append"));
    }
    wal
}

// Scans a log as recovery does.
#[library_benchmark]
#[benches::bytes(args = [256, 4096], setup = full_log)]
fn scan(disk: Arc<SimDisk>) -> usize {
    inspect(&*disk).expect("look at the log").segments.len()
}

library_benchmark_group!(name = steps, benchmarks = [encode, append, scan]);
main!(library_benchmark_groups = steps);
