//! A counting allocator: the bytes allocated now, and the most since the last query.
//!
//! Counting costs a few atomic operations per allocation, so only rows about memory turn it on.

#![expect(unsafe_code, reason = "a counting allocator has to implement GlobalAlloc")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

static COUNTS: AtomicBool = AtomicBool::new(false);
/// Bytes allocated minus bytes freed since counting began. Memory allocated earlier and freed since lowers it.
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Starts counting.
pub(crate) fn count() {
    COUNTS.store(true, Ordering::Relaxed);
}

/// Returns the most bytes that were allocated and not freed since the last call, of those allocated since counting
/// began.
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

// SAFETY: all memory comes from the system allocator; the counters do not affect it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: the caller's arguments are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: the caller's arguments are passed on unchanged.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        // SAFETY: the caller's arguments are passed on unchanged.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Both blocks exist for a moment, as in the default implementation.
        add(bytes, 1);
        // SAFETY: the caller's arguments are passed on unchanged.
        let moved = unsafe { System.realloc(ptr, layout, bytes) };
        // On failure the old block remains.
        add(if moved.is_null() { bytes } else { layout.size() }, -1);
        moved
    }
}
