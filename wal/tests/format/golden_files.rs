//! Provides the golden log of a package, which an earlier build wrote, and an environment in which the same
//! calls always write the same bytes.

use seawall_wal::disk::sim::{SimClock, SimRandom};
use seawall_wal::disk::{Mode, PosixDisk};
use seawall_wal::{Env, Threads};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The directory of the golden log.
pub fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// An environment in `dir` with a clock that stands still and random numbers from a fixed seed.
pub fn env(dir: &Path) -> Env {
    let clock = SimClock::new();
    clock.set_wall_ms(1_790_000_000_000);
    Env {
        disk: Arc::new(PosixDisk::open(dir, Some(Mode::Buffered)).unwrap()),
        clock: Arc::new(clock),
        random: Arc::new(SimRandom::new(42)),
        threads: Threads::Stepped,
    }
}

/// A copy of the log in `from`, in a directory of its own.
pub fn copy_of(from: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

/// Writes the golden log again with `write` if `SEAWALL_GOLDEN=write` is set. Returns whether it did.
pub fn rewritten(write: impl FnOnce(&Path)) -> bool {
    if std::env::var("SEAWALL_GOLDEN").is_ok_and(|value| value == "write") {
        let _ = fs::remove_dir_all(fixture());
        fs::create_dir_all(fixture()).unwrap();
        write(&fixture());
        // The lock and unfinished spares hold no data.
        for entry in fs::read_dir(fixture()).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if name == "LOCK" || name.ends_with(".new") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        return true;
    }
    false
}
