//! What a live entry costs in memory: at most 16 bytes, at every moment of the load. The exact sum is in the
//! index's own tests; here nothing else may grow with the entries.

#![expect(unsafe_code, reason = "a counting allocator has to implement GlobalAlloc")]

use seawall::{Engine, EntryRef, Options, WriteBatch};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is the system allocator's; the counter is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const GROUPS: u64 = 200;
const PER_BATCH: u64 = 50;
const WARM_UP: u64 = 10;
/// What buffers of the log may come and go meanwhile, in bytes: more of them on a machine that is busy.
const BUFFERS: usize = 6 << 20;

#[test]
fn an_entry_costs_at_most_sixteen_bytes() {
    let dir = tempfile::tempdir().unwrap();
    // Small, so that what is gathered for the footer, and the buffers of writes, are small too.
    let mut options = Options { cache_bytes: 0, ..Options::default() };
    (options.log.segment_bytes, options.log.group_bytes) = (1 << 20, 16 << 10);
    let engine = Engine::create(dir.path().join("log"), &options).unwrap();
    let mut batch = WriteBatch::new();
    let mut append = |from: u64| {
        for group in 1..=GROUPS {
            let entries: Vec<_> = (from..from + PER_BATCH)
                .map(|index| EntryRef { index, term: 1, payload: &[7; 16] })
                .collect();
            batch.append(group, &entries);
            engine.write(&mut batch).unwrap();
        }
        engine.flush().unwrap();
    };
    // Groups, threads, buffers of the log and what is gathered for the footer are there.
    (0..WARM_UP).for_each(|round| append(1 + round * PER_BATCH));
    let before = LIVE.load(Ordering::Relaxed);
    for round in 1..=100 {
        append(1 + (WARM_UP + round - 1) * PER_BATCH);
        let entries = usize::try_from(GROUPS * round * PER_BATCH).unwrap();
        let bytes = LIVE.load(Ordering::Relaxed).saturating_sub(before);
        assert!(bytes <= 16 * entries + BUFFERS, "{entries} entries: {bytes} bytes");
    }
}
