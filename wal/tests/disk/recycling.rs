//! Tests on a real directory that the log does not recycle a file that has another name.

use crate::harness;

use harness::{env, record};
use seawall_wal::disk::{Mode, PosixDisk};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Options, Threads, Wal};
use std::fs;
use std::sync::Arc;

/// A hard link is a free copy of a segment as long as the log does not recycle the file.
#[test]
fn a_file_with_another_name_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = || Arc::new(PosixDisk::open(dir.path(), Some(Mode::Buffered)).unwrap());
    let options = Options::default().with_segment_bytes(40 << 10);
    let wal = Wal::create_in(env(disk(), Threads::Stepped), &options).unwrap();
    let fill = |ids: std::ops::Range<u64>| {
        for id in ids {
            wal.append(&record(id, 3000), Durability::Sync).unwrap().wait().unwrap();
        }
    };
    fill(0..30);
    let (first, copy) = (dir.path().join("00000001.wal"), dir.path().join("copy"));
    fs::hard_link(&first, &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    let segment = wal.active_segment();
    wal.release(segment).unwrap();
    fill(30..90);
    let mut stepper = Stepper::new(&wal);
    for _ in 0..100 {
        stepper.idle();
        stepper.prepare().unwrap();
    }
    assert!(!first.exists(), "released");
    assert!(wal.active_segment() > segment + 3, "the log needed files");
    assert!(fs::read(&copy).unwrap() == before, "the copy has changed");
}
