//! Tests memory use: a live entry costs at most 16 bytes at every moment of the load, and the bytes that a
//! pinned reader allocates grow in proportion to its entries.
//!
//! The unit tests of the index check the exact sum. Here nothing else may grow with the entries.

#![expect(unsafe_code, reason = "a counting allocator has to implement GlobalAlloc")]

use seawall::{Engine, EntryRef, Options, WriteBatch};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Bytes that the thread has allocated so far.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// Lets one test run at a time, because live bytes are counted for all threads.
static ONE: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: every call is passed on to the system allocator; the counters touch no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        let _ = ALLOCATED.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the arguments are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the arguments are passed on unchanged.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const GROUPS: u64 = 200;
const PER_BATCH: u64 = 50;
const WARM_UP: u64 = 10;
/// Allowance for buffers of the log that are allocated meanwhile, in bytes. A busy machine has more of them.
const BUFFERS: usize = 6 << 20;

#[test]
fn an_entry_costs_at_most_sixteen_bytes() {
    let _one = ONE.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Segments and write groups are small, so that the data gathered for the footer and the write buffers are
    // small, too.
    let mut options = Options::default().with_cache_bytes(0);
    (options.log.segment_bytes, options.log.group_bytes) = (1 << 20, 16 << 10);
    let engine = Engine::create(dir.path().join("log"), &options).unwrap();
    let mut batch = WriteBatch::new();
    let mut append = |from: u64| {
        for group in 1..=GROUPS {
            let entries: Vec<_> = (from..from + PER_BATCH)
                .map(|index| EntryRef { index, term: 1, payload: &[7; 16] })
                .collect();
            batch.append(group, &entries);
            drop(engine.write(&mut batch).unwrap());
        }
        engine.flush().unwrap();
    };
    // After these rounds, groups, threads, buffers of the log and the data gathered for the footer are
    // allocated.
    (0..WARM_UP).for_each(|round| append(1 + round * PER_BATCH));
    let before = LIVE.load(Ordering::Relaxed);
    for round in 1..=100 {
        append(1 + (WARM_UP + round - 1) * PER_BATCH);
        let entries = usize::try_from(GROUPS * round * PER_BATCH).unwrap();
        let bytes = LIVE.load(Ordering::Relaxed).saturating_sub(before);
        assert!(bytes <= 16 * entries + BUFFERS, "{entries} entries: {bytes} bytes");
    }
}

/// Returns the bytes that a pinned reader allocates for `count` entries, all in segments that the log has
/// released.
fn read_back(count: u64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default().with_cache_bytes(0).with_compression(None);
    options.log.segment_bytes = 4 << 20;
    let engine = Engine::create(dir.path().join("log"), &options).unwrap();
    let mut batch = WriteBatch::new();
    for from in (1..=count).step_by(500) {
        let entries: Vec<_> =
            (from..from + 500).map(|index| EntryRef { index, term: 1, payload: &[7; 16] }).collect();
        batch.append(1, &entries);
        drop(engine.write(&mut batch).unwrap());
    }
    let mut reader = engine.group(1).pin(1, count + 1).unwrap();
    let held = engine.stats().unwrap().segments.1;
    batch.compact(1, count);
    drop(engine.write(&mut batch).unwrap());
    let mut index = 1;
    while engine.stats().unwrap().segments.0 <= held {
        batch.append(2, &[EntryRef { index, term: 1, payload: &[7; 200_000] }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
        batch.compact(2, index);
        drop(engine.write(&mut batch).unwrap());
        index += 1;
    }
    let before = ALLOCATED.get();
    let mut entries = 0;
    loop {
        let read = reader.read(Some(4096)).unwrap().len() as u64;
        entries += read;
        if read == 0 {
            break;
        }
    }
    assert_eq!(entries, count);
    ALLOCATED.get() - before
}

#[test]
fn what_a_pinned_reader_allocates_grows_as_its_entries_do() {
    let _one = ONE.lock().unwrap();
    let (some, twice) = (read_back(20_000), read_back(40_000));
    assert!(twice < some * 5 / 2, "{some} bytes for 20,000 entries, {twice} for 40,000");
}
