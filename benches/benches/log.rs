//! Criterion benches of the steps of an append and of reads: building and checksumming a record, enqueueing it,
//! scanning a log, reading records back; and durable appends with group commit. They run in a real directory with a
//! warm page cache.

#![forbid(unsafe_code)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use seawall::{Engine, EntryRef, WriteBatch};
use seawall_wal::disk::PosixDisk;
use seawall_wal::inspect::inspect;
use seawall_wal::{Durability, Lsn, Options, RecordBuilder, Wal};
use std::hint::black_box;
use std::thread;

const SIZES: [usize; 2] = [256, 4096];

fn fill(batch: &mut RecordBuilder, payload: &[u8]) {
    batch.clear();
    batch.meta().extend_from_slice(&[1; 48]);
    batch.push_part(payload);
}

/// Builds a record from its payload, checksums included: the work of the caller's thread outside the lock.
fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for size in SIZES {
        let (mut batch, payload) = (RecordBuilder::new(), vec![7; size]);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B"), |b| {
            b.iter(|| {
                fill(&mut batch, black_box(&payload));
                black_box(batch.head_crc(Durability::Sync))
            });
        });
    }
    group.finish();
}

/// Appends that wait for nothing: lock, copy, index. A flush follows every 1000 records.
fn append_lazy(c: &mut Criterion) {
    let mut group = c.benchmark_group("append lazy, flush every 1000");
    group.sample_size(20);
    for size in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let wal = Wal::create(dir.path().join("log"), &Options::default()).unwrap();
        let (mut batch, payload) = (RecordBuilder::new(), vec![7; size]);
        group.throughput(Throughput::Elements(1000));
        group.bench_function(format!("{size} B"), |b| {
            b.iter(|| {
                for _ in 0..1000 {
                    fill(&mut batch, &payload);
                    drop(wal.append(&batch, Durability::Lazy).unwrap());
                }
                wal.release(wal.active_segment()).unwrap();
                wal.flush().unwrap()
            });
        });
        wal.close().unwrap();
    }
    group.finish();
}

/// Durable appends by several threads, which share flushes.
fn group_commit(c: &mut Criterion) {
    const APPENDS: u64 = 100;
    let mut group = c.benchmark_group("group commit, 100 durable appends per thread");
    group.sample_size(10);
    for (threads, size) in [(1, 256), (16, 256), (16, 4096)] {
        let dir = tempfile::tempdir().unwrap();
        let wal = Wal::create(dir.path().join("log"), &Options::default()).unwrap();
        let payload = vec![7; size];
        group.throughput(Throughput::Elements(threads * APPENDS));
        group.bench_function(format!("{threads} threads, {size} B"), |b| {
            b.iter(|| {
                thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            let mut batch = RecordBuilder::new();
                            for _ in 0..APPENDS {
                                fill(&mut batch, &payload);
                                wal.append(&batch, Durability::Sync).unwrap().wait().unwrap();
                            }
                        });
                    }
                });
                wal.release(wal.active_segment()).unwrap();
            });
        });
        wal.close().unwrap();
    }
    group.finish();
}

/// Scans a log of 32 MiB as recovery does, and reads it record by record.
fn scan_and_read(c: &mut Criterion) {
    let mut group = c.benchmark_group("32 MiB log");
    group.sample_size(10);
    for size in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let wal = Wal::create(&path, &Options::default()).unwrap();
        let (mut batch, payload) = (RecordBuilder::new(), vec![7; size]);
        for _ in 0..(32 << 20) / size {
            fill(&mut batch, &payload);
            drop(wal.append(&batch, Durability::Lazy).unwrap());
        }
        wal.flush().unwrap();
        group.throughput(Throughput::Bytes(32 << 20));
        group.bench_function(format!("read records of {size} B"), |b| {
            b.iter(|| wal.records(Lsn::ZERO).map(|r| r.unwrap().meta().len()).sum::<usize>());
        });
        wal.close().unwrap();
        group.bench_function(format!("scan records of {size} B"), |b| {
            b.iter_batched(
                || PosixDisk::open(&path, None).unwrap(),
                |disk| inspect(&disk).unwrap().segments.len(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Reads all entries of a group of a reopened engine, 1 MiB at a time: index, mapped segments, checksums.
fn range_reads(c: &mut Criterion) {
    const BYTES: usize = 32 << 20;
    let mut group = c.benchmark_group("read the entries of a group");
    for size in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine");
        let options = seawall::Options::default().with_compression(None).with_cache_bytes(0);
        let engine = Engine::create(&path, &options).unwrap();
        let (mut batch, payload, last) = (WriteBatch::new(), vec![7; size], (BYTES / size) as u64);
        for index in 1..=last {
            batch.append(1, &[EntryRef { index, term: 1, payload: &payload }]);
            drop(engine.write(&mut batch).unwrap());
        }
        engine.close().unwrap();
        let (engine, _) = Engine::open(&path, &options).unwrap();
        let entries = engine.group(1);
        group.throughput(Throughput::Bytes(BYTES as u64));
        group.bench_function(format!("{size} B"), |b| {
            b.iter(|| {
                let mut next = 1;
                while next <= last {
                    next += entries.entries(next, last + 1, Some(1 << 20)).unwrap().len() as u64;
                }
            });
        });
        engine.close().unwrap();
    }
    group.finish();
}

criterion_group!(benches, encode, append_lazy, group_commit, scan_and_read, range_reads);
criterion_main!(benches);
