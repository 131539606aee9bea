//! Tests that durable appends in steady state hardly allocate, and that a false length on the disk does not
//! determine how much open and inspection allocate.

#![expect(unsafe_code, reason = "a counting allocator has to implement GlobalAlloc")]

mod harness;

use harness::{env, record};
use seawall_wal::disk::{Mode, PosixDisk};
use seawall_wal::inspect::{GroupHeader, SegmentHeader, inspect};
use seawall_wal::{Durability, Error, Lsn, Options, RecordBuilder, Threads, Wal};
use std::alloc::{GlobalAlloc, Layout, System};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

struct Counting;

/// Held by each test while it runs, because the counters are those of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The largest allocation of any thread, in bytes.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn note(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    LARGEST.fetch_max(bytes, Ordering::Relaxed);
}

// SAFETY: every call is passed to the system's allocator unchanged; counting has no effect on it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is also that of the system's
        // allocator.
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

/// Counts the allocations of all threads during `count` appends, of which `in_flight` are in flight at a
/// time.
fn allocations(wal: &Wal, count: u64, in_flight: usize) -> u64 {
    let mut batch = RecordBuilder::new();
    let mut tickets = std::collections::VecDeque::with_capacity(in_flight + 1);
    let mut append = |tickets: &mut std::collections::VecDeque<_>| {
        batch.clear();
        batch.meta().extend_from_slice(b"key");
        batch.push_part(&[7; 256]);
        tickets.push_back(wal.append(&batch, Durability::Sync).unwrap());
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
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::create(dir.path().join("log"), &Options::default()).unwrap();
    // Steady: the preallocator has prepared all segments.
    let files = 1 + u64::from(Options::default().spare_segments);
    let all = (files * u64::from(Options::default().segment_bytes)) - (2 << 20);
    while wal.stats().preallocated_bytes < all {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for in_flight in [1, 32] {
        let count = 2000;
        let made = allocations(&wal, count, in_flight);
        println!("{in_flight} in flight: {made} allocations in {count} appends");
        // The preallocator, and marks that the log writes when it is idle, may allocate now and then.
        assert!(made * 10 < count, "{in_flight} in flight: {made} allocations in {count} appends");
    }
    wal.close().unwrap();
}

/// A function that writes a false length into the bytes of a segment.
type Lie<'a> = &'a dyn Fn(&mut [u8]);

/// Headers pass their checks but have false lengths: a segment that claims up to 4 GiB, and a group that
/// claims as many bytes or records. The segment is several times longer than what a scan may hold of a group
/// that is not valid. So a false length within the file is distinguished from one that is refused because it
/// exceeds the file.
#[test]
fn lengths_that_lie_are_not_allocated() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let options = Options::default().with_segment_bytes(24 << 20).with_spare_segments(3);
    let open = || Arc::new(PosixDisk::open(dir.path(), Some(Mode::Buffered)).unwrap());
    let wal = Wal::create_in(env(open(), Threads::Stepped), &options).unwrap();
    for id in 0..30 {
        wal.append(&record(id, 3000), Durability::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    let found = inspect(&*open()).unwrap();
    let segment = &found.segments[0];
    let (header, group) = (segment.header.unwrap(), segment.heads[3].offset as usize);
    let path = dir.path().join("00000001.wal");
    let whole = std::fs::read(&path).unwrap();
    let at = Lsn::new(1, segment.heads[3].offset);
    let told = GroupHeader::decode(&whole[group..], header.salt, at).expect("a head");
    // Less than half of the second false length, and more than a scan holds of such a group.
    let bound = 9 << 20;
    let start = group + 4096;
    for lie in [1 << 20, 20 << 20, 1 << 30, u32::MAX - 64, u32::MAX] {
        let lies: [Lie<'_>; 3] = [
            &|bytes| SegmentHeader { file_bytes: u64::from(lie), ..header }.encode(&mut bytes[..4096]),
            &|bytes| GroupHeader { body_bytes: lie, ..told }.encode(header.salt, &mut bytes[group..]),
            &|bytes| GroupHeader { record_count: lie, ..told }.encode(header.salt, &mut bytes[group..]),
        ];
        for (n, damage) in lies.iter().enumerate() {
            let mut bytes = whole[..start].to_vec();
            damage(&mut bytes);
            assert!(bytes != whole[..start]);
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            LARGEST.store(0, Ordering::Relaxed);
            let opened = Wal::open_in(env(open(), Threads::Stepped), &options).map(drop);
            assert!(matches!(opened, Err(Error::Corrupt { .. })), "{n}, {lie}: {opened:?}");
            assert!(inspect(&*open()).unwrap().verdict.is_err());
            let largest = LARGEST.load(Ordering::Relaxed);
            assert!(largest < bound, "{n}, {lie}: {largest} bytes");
            file.write_all_at(&whole[..start], 0).unwrap();
        }
    }
    assert!(Wal::open_in(env(open(), Threads::Stepped), &options).is_ok(), "as it was");
}
