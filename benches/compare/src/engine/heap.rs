//! An allocator that counts, once it is told to: what is allocated now, and the most since it was last asked.
//!
//! Counting costs a few atomic operations per allocation, so only rows that are about memory turn it on.

#![expect(unsafe_code, reason = "a counting allocator has to implement GlobalAlloc")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

static COUNTS: AtomicBool = AtomicBool::new(false);
/// Since counting began; what was freed since and allocated before makes it less.
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Counts from now on.
pub(crate) fn count() {
    COUNTS.store(true, Ordering::Relaxed);
}

/// Bytes allocated since counting began, and not freed: the most since the last call.
pub(crate) fn peak_since_last() -> isize {
    PEAK.swap(LIVE.load(Ordering::Relaxed), Ordering::Relaxed)
}

fn add(bytes: usize, sign: isize) {
    if COUNTS.load(Ordering::Relaxed) {
        let bytes = sign * isize::try_from(bytes).unwrap_or(isize::MAX);
        let now = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if sign > 0 {
            PEAK.fetch_max(now, Ordering::Relaxed);
        }
    }
}

// SAFETY: everything is the system allocator's; the counters are beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: passed on as it came.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // As the default would do it: both are there for a moment.
        add(bytes, 1);
        // SAFETY: passed on as it came.
        let moved = unsafe { System.realloc(ptr, layout, bytes) };
        // On failure the old one stays.
        add(if moved.is_null() { bytes } else { layout.size() }, -1);
        moved
    }
}
