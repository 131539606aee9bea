//! A durable append in steady state allocates nothing: batches, buffers and waiters are used again. And no
//! length on the disk is believed before there are so many bytes.

#![expect(unsafe_code, reason = "a counting allocator has to implement GlobalAlloc")]

mod harness;

use harness::{record, small, stepped};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::look::{GroupHeader, SegmentHeader, inspect};
use seawall_wal::{Batch, Class, Error, Lsn, Options, Wal};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The largest block that this thread asked for.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every call is passed to the system's allocator unchanged; counting has no effect on it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
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

/// What is done to the bytes of a segment.
type Lie<'a> = &'a dyn Fn(&mut [u8]);

/// Headers that check and lie: a group of 4 GiB, of as many records, in a segment of as many bytes.
#[test]
fn lengths_that_lie_are_not_allocated() {
    let disk = SimDisk::new(1, SimOptions::default());
    let wal = Wal::create_in(stepped(&disk), &small()).unwrap();
    for id in 0..30 {
        wal.append(&record(id, 3000), Class::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    let found = inspect(&*disk).unwrap();
    let segment = &found.segments[0];
    let header = segment.header.unwrap();
    let (file, group) = ("00000001.wal", segment.heads[3].offset as usize);
    let whole = disk.read_file(file);
    let at = Lsn::new(1, segment.heads[3].offset);
    let told = GroupHeader::decode(&whole[group..], header.salt, at).expect("a head");
    // The least that a scan takes at a time is larger than any of these segments.
    let bound = 4 << 20;
    for lie in [1 << 20, 1 << 30, u32::MAX - 64, u32::MAX] {
        let lies: [Lie<'_>; 3] = [
            &|bytes| SegmentHeader { file_bytes: u64::from(lie), ..header }.encode(&mut bytes[..4096]),
            &|bytes| GroupHeader { body_bytes: lie, ..told }.encode(header.salt, &mut bytes[group..]),
            &|bytes| GroupHeader { record_count: lie, ..told }.encode(header.salt, &mut bytes[group..]),
        ];
        for (n, damage) in lies.iter().enumerate() {
            let mut bytes = whole.clone();
            damage(&mut bytes);
            assert!(bytes != whole);
            disk.write_file(file, &bytes);
            LARGEST.set(0);
            let opened = Wal::open_in(stepped(&disk), &small()).map(drop);
            assert!(matches!(opened, Err(Error::Corrupt { .. })), "{n}, {lie}: {opened:?}");
            assert!(inspect(&*disk).unwrap().verdict.is_err());
            assert!(LARGEST.get() < bound, "{n}, {lie}: {} bytes", LARGEST.get());
        }
    }
}
