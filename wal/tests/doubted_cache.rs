//! Pages that were cached before a file was opened are not believed: on the real file system, by what the kernel
//! says it fetched from the device.

use seawall_wal::disk::{Access, Disk, PosixDisk, read_exact_at};
use std::path::Path;

const NAME: &str = "file";
const BYTES: usize = 1 << 20;

/// Bytes that this thread's reads fetched from devices so far; `None` if the kernel does not count.
fn fetched() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok())
}

/// What reading `buf` from the start of the file fetches.
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
