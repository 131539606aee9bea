//! Tests that a lone durable append is one write to the disk, made by the thread that appends, which sleeps
//! only in that write.
//!
//! A hook counts the calls of the whole log on the disk. Where the kernel counts them, the tests also check
//! the read and write calls of the thread, and how often it slept.

use seawall_wal::disk::sim::{HookDisk, SimDisk, SimOptions};
use seawall_wal::disk::{
    Disk, Mode, PosixDisk,
    clock::{SystemClock, SystemRandom},
};
use seawall_wal::{Durability, Env, Lsn, Options, RecordBuilder, Threads, Wal};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of appends that are counted. All of them fit into the first segment.
const APPENDS: u64 = 500;

/// Counts of calls on files and on the directory.
#[derive(Debug, Default)]
struct Calls {
    durable_writes: AtomicU64,
    others: AtomicU64,
}

impl Calls {
    /// The numbers of durable writes and of all other calls so far.
    fn counts(&self) -> (u64, u64) {
        (self.durable_writes.load(Ordering::SeqCst), self.others.load(Ordering::SeqCst))
    }
}

/// The calling thread's read and write calls so far; `None` if the kernel does not count them.
fn kernel_counts() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/thread-self/io").ok()?;
    let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok());
    Some((value("syscr:")?, value("syscw:")?))
}

/// How often the calling thread has gone to sleep so far; `None` if the kernel does not count that.
fn sleeps() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/status").ok()?;
    text.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
}

fn env(disk: Arc<dyn Disk>) -> Env {
    Env {
        disk,
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
        threads: Threads::Spawned,
    }
}

/// Options with which the log writes no mark between the appends, however slow the machine is. A mark would
/// be a write of the log, but not of an append.
fn options() -> Options {
    Options::default().with_segment_bytes(8 << 20).with_idle_ms(60_000)
}

fn append(wal: &Wal) -> Lsn {
    let mut batch = RecordBuilder::new();
    batch.push_part(&[7; 256]);
    wal.append(&batch, Durability::Sync).unwrap().wait().unwrap()
}

/// The disk never waits, so each sleep is the log's own.
#[test]
fn a_lone_durable_append_does_not_sleep() {
    let Some(_) = sleeps() else {
        println!("the kernel does not count sleeps: not run");
        return;
    };
    let disk = SimDisk::new(1, SimOptions { mode: Mode::Direct, ..SimOptions::default() });
    let wal = Wal::create_in(env(disk), &options()).unwrap();
    (0..APPENDS / 10).for_each(|_| _ = append(&wal));
    let before = sleeps();
    (0..APPENDS).for_each(|_| _ = append(&wal));
    let slept = before.zip(sleeps()).map_or(0, |(before, after)| after - before);
    println!("{APPENDS} appends: slept {slept} times");
    // The flusher looks once a millisecond, and the preallocator makes spares at first. Then a lock may be
    // taken.
    assert!(slept <= APPENDS / 5, "slept {slept} times for {APPENDS} appends");
    wal.close().unwrap();
}

#[test]
fn a_lone_durable_append_is_one_write() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let calls = Arc::new(Calls::default());
    let Ok(inner) = PosixDisk::open(dir.path(), Some(Mode::Direct)) else {
        println!("no direct I/O on this file system: not run");
        return;
    };
    let counted = Arc::clone(&calls);
    let disk = HookDisk::new(Arc::new(inner), move |call| {
        let count = if call.durable { &counted.durable_writes } else { &counted.others };
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let Ok(wal) = Wal::create_in(env(disk), &options()) else {
        println!("no direct I/O on this file system: not run");
        return;
    };
    let append = || append(&wal);
    // Appends until the preallocator has prepared its spares. After that, only appends call the disk.
    let (mut writes, mut others) = (0, u64::MAX);
    while others != calls.counts().1 {
        (writes, others) = calls.counts();
        append();
        writes += 1;
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let before = kernel_counts();
    (0..APPENDS).for_each(|_| _ = append());
    let after = kernel_counts();
    let (writes, others) = (calls.counts().0 - writes, calls.counts().1 - others);
    println!("{APPENDS} appends: {writes} durable writes, {others} other calls on the disk");
    assert_eq!((writes, others), (APPENDS, 0));
    if let (Some((reads_before, writes_before)), Some((reads, writes))) = (before, after) {
        let (reads, writes) = (reads - reads_before, writes - writes_before);
        println!("by this thread: {reads} read and {writes} write calls");
        // Reading the counts takes a few reads. There are fewer writes if this thread did not run for so long
        // that the flusher wrote in its place.
        assert!(reads <= 8 && writes <= APPENDS, "{reads} read and {writes} write calls");
    }
    wal.close().unwrap();
}
