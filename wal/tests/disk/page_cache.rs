//! Tests on the real file system which pages that were cached before it opened a file the log uses.
//!
//! The tests use the kernel's count of the bytes that it fetched from the device.

use crate::harness;

use harness::{env, record};
use seawall_wal::disk::{Access, Disk, Mode, PosixDisk, read_exact_at};
use seawall_wal::{Durability, Lsn, OpenMode, Options, Threads, Wal};
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

/// Reads 200 000 bytes of each of ten sealed segments three times over. Returns how often that fetched as many from the
/// device, for each round; `None` if the kernel does not count. All segments are cached before, and there are more of
/// them than may be open, so each is closed again before its next read.
fn refetched(mode: OpenMode) -> Option<[u32; 3]> {
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
    names().for_each(|name| drop(std::fs::read(name).expect("read")));

    let options = options.with_mode(mode);
    let (wal, _) = Wal::open_in(env(disk(), Threads::Stepped), &options).expect("open");
    let device = matches!(disk().file_system(), 0xEF53 | 0x5846_5342) && disk().mode() == Mode::Direct;
    let mut buf = vec![0; 200_000];
    let mut rounds = [0; 3];
    for round in &mut rounds {
        for segment in 1..11 {
            let before = fetched()?;
            wal.read_at(Lsn::new(segment, 4096), &mut buf).expect("read");
            *round += u32::from(fetched()? - before >= 200_000);
        }
    }
    assert!(wal.stats().reopened >= 20, "{} were opened again", wal.stats().reopened);
    device.then_some(rounds)
}

/// In salvage mode nothing says that the device has what the cache shows: the log drops the cached pages of a segment at
/// its first read, whichever descriptor reads them.
#[test]
fn the_doubt_outlives_the_descriptor() {
    let rounds = refetched(OpenMode::Salvage);
    assert!(rounds.is_none_or(|rounds| rounds == [10, 0, 0]), "{rounds:?}");
}

/// Segments below the watermark were confirmed by the device: their cached pages stay.
#[test]
fn what_was_durable_before_is_read_from_the_cache() {
    let rounds = refetched(OpenMode::Strict);
    assert!(rounds.is_none_or(|rounds| rounds == [0, 0, 0]), "{rounds:?}");
}
