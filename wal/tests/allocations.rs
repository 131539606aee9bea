//! A durable append in steady state allocates nothing: batches, buffers and waiters are used again.

#![expect(unsafe_code, reason = "a counting allocator has to implement GlobalAlloc")]

use seawall_wal::{Batch, Class, Options, Wal};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed to the system's allocator unchanged; counting has no effect on it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// Allocations, by all threads, of `count` appends with `in_flight` of them waiting at a time.
fn allocations(wal: &Wal, count: u64, in_flight: usize) -> u64 {
    let mut batch = Batch::new();
    let mut tickets = std::collections::VecDeque::with_capacity(in_flight + 1);
    let mut append = |tickets: &mut std::collections::VecDeque<_>| {
        batch.clear();
        batch.meta().extend_from_slice(b"key");
        batch.push_part(&[7; 256]);
        tickets.push_back(wal.append(&batch, Class::Sync).unwrap());
        if tickets.len() == in_flight {
            let ticket: seawall_wal::Ticket = tickets.pop_front().unwrap();
            ticket.wait().unwrap();
        }
    };
    (0..500).for_each(|_| append(&mut tickets));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..count).for_each(|_| append(&mut tickets));
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn steady_appends_do_not_allocate() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::create(dir.path().join("log"), &Options::default()).unwrap();
    for in_flight in [1, 32] {
        let count = 2000;
        let made = allocations(&wal, count, in_flight);
        println!("{in_flight} in flight: {made} allocations in {count} appends");
        // The file pipeline and the marks of an idle moment may allocate now and then.
        assert!(made * 10 < count, "{in_flight} in flight: {made} allocations in {count} appends");
    }
    wal.close().unwrap();
}
