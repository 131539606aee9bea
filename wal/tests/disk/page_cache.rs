//! Tests on the real file system that the log does not trust pages that were cached before it opened a file.
//!
//! The tests use the kernel's count of the bytes that it fetched from the device.

use crate::harness;

use harness::{env, record};
use seawall_wal::disk::{Access, Disk, Mode, PosixDisk, read_exact_at};
use seawall_wal::{Durability, Lsn, Options, Threads, Wal};
use std::path::Path;
use std::sync::Arc;

const NAME: &str = "file";
const BYTES: usize = 1 << 20;

/// Bytes that this thread's reads have fetched from devices so far; `None` if the kernel does not count.
fn fetched() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok())
}

/// Bytes that reading the file fetches from the device. With `distrust` the cached pages are distrusted
/// first.
fn fetches(disk: &PosixDisk, distrust: bool) -> Option<u64> {
    let file = disk.open(NAME, Access::Write).expect("open");
    if distrust {
        file.distrust_cache();
    }
    let before = fetched()?;
    read_exact_at(&*file, &mut vec![0; BYTES], 0).expect("read");
    Some(fetched()? - before)
}

#[test]
fn what_was_cached_before_is_fetched_again_once_it_is_read() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    std::fs::write(dir.path().join(NAME), vec![7; BYTES]).expect("write");
    std::fs::File::open(dir.path().join(NAME)).and_then(|file| file.sync_all()).expect("sync");
    let disk = PosixDisk::open(dir.path(), None).expect("a disk");
    let Some(cached) = fetches(&disk, false) else {
        assert!(!Path::new("/proc/thread-self/io").exists(), "the kernel counts, and not what is read");
        return;
    };
    // A file system without a device fetches nothing in either case.
    let again = fetches(&disk, true).expect("counts");
    let device = matches!(disk.file_system(), 0xEF53 | 0x5846_5342 | 0x9123_683E);
    assert!(cached < BYTES as u64 / 2, "{cached} bytes were fetched although they were cached");
    assert!(!device || again >= BYTES as u64, "only {again} of {BYTES} bytes were fetched again");
}

/// The log distrusts the cached pages of a segment whichever descriptor reads them. Open closes the files
/// that it has read, and reads of other segments close them again.
#[test]
fn the_doubt_outlives_the_descriptor() {
    const SEGMENT_BYTES: u32 = 256 << 10;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let options = Options::default().with_segment_bytes(SEGMENT_BYTES).with_descriptors_max(8);
    let disk = || Arc::new(PosixDisk::open(dir.path(), None).expect("a disk"));
    let wal = Wal::create_in(env(disk(), Threads::Stepped), &options).expect("a log");
    while wal.active_segment() < 12 {
        wal.append(&record(1, 60_000), Durability::Sync).and_then(|ticket| ticket.wait()).expect("append");
    }
    wal.close().expect("close");
    let names = || (1..12).map(|n| dir.path().join(format!("{n:08x}.wal")));
    names().for_each(|name| std::fs::File::open(name).and_then(|file| file.sync_all()).expect("sync"));
    // A killed process may have left such pages in the cache without the device ever getting them.
    names().for_each(|name| drop(std::fs::read(name).expect("read")));

    let (wal, _) = Wal::open_in(env(disk(), Threads::Stepped), &options).expect("open");
    let device = matches!(disk().file_system(), 0xEF53 | 0x5846_5342) && disk().mode() == Mode::Direct;
    let mut buf = vec![0; 200_000];
    let mut read = |segment| {
        let before = fetched()?;
        wal.read_at(Lsn::new(segment, 4096), &mut buf).expect("read");
        Some(fetched()? - before)
    };
    // There are more segments than may be open, so each is closed again before its next read.
    for round in 0..3 {
        for segment in 1..11 {
            let Some(bytes) = read(segment) else { return };
            let fetches = bytes >= 200_000;
            assert!(!device || fetches == (round == 0), "round {round}, segment {segment}: {bytes} bytes");
        }
    }
    assert!(wal.stats().reopened >= 20, "{} were opened again", wal.stats().reopened);
}
