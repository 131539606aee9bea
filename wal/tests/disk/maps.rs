//! Tests on a real directory that segments that are read often are mapped, that a map holds the same bytes as
//! a read, and that the file of a map is not recycled while the map exists.

use crate::harness;

use harness::{env, record};
use seawall_wal::disk::{Mode, PosixDisk};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Lsn, Options, Threads, Wal, segments::Mapped};
use std::fs;
use std::path::Path;
use std::sync::Arc;

const SEGMENT_BYTES: u32 = 64 << 10;

fn create(dir: &Path) -> Wal {
    let disk = Arc::new(PosixDisk::open(dir, Some(Mode::Buffered)).unwrap());
    let options = Options::default().with_segment_bytes(SEGMENT_BYTES);
    Wal::create_in(env(disk, Threads::Stepped), &options).unwrap()
}

fn fill(wal: &Wal, ids: std::ops::Range<u64>) {
    for id in ids {
        wal.append(&record(id, 3000), Durability::Sync).unwrap().wait().unwrap();
    }
}

/// All bytes of `segment`, as `read_at` returns them.
fn read(wal: &Wal, segment: u32) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT_BYTES as usize];
    wal.read_at(Lsn::new(segment, 0), &mut bytes).unwrap();
    bytes
}

fn mapped(wal: &Wal, segment: u32) -> Option<Mapped> {
    read(wal, segment);
    wal.mapped(segment)
}

#[test]
fn a_segment_that_is_read_often_can_be_had_as_memory() {
    let dir = tempfile::tempdir().unwrap();
    let wal = create(dir.path());
    fill(&wal, 0..60);
    let active = wal.active_segment();
    assert!(active > 2, "segments were sealed");
    assert!(wal.mapped(1).is_none(), "no reader has read it yet");
    let first = mapped(&wal, 1).expect("a map");
    assert!(first.as_ref() == read(&wal, 1), "the same bytes");
    assert!(first.clone().as_ref() == first.as_ref());
    assert!(mapped(&wal, active).is_none(), "it is being written");
    assert!(wal.mapped(active + 1).is_none() && wal.mapped(0).is_none(), "there is none");
    wal.release(2).unwrap();
    assert!(wal.mapped(1).is_none(), "released");
}

#[test]
fn a_segment_to_which_zeros_may_be_written_is_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(PosixDisk::open(dir.path(), Some(Mode::Buffered)).unwrap());
    // The file takes more than one piece of zeros. The first is written when the file is made.
    let options = Options::default().with_segment_bytes(4 << 20);
    let wal = Wal::create_in(env(disk, Threads::Stepped), &options).unwrap();
    wal.append(&record(0, 600_000), Durability::Sync).unwrap().wait().unwrap();
    // This record does not fit into the rest of the first segment, so the log leaves it before the
    // preallocator has zeroed it.
    wal.append(&record(1, 3_800_000), Durability::Sync).unwrap().wait().unwrap();
    assert_eq!(wal.active_segment(), 2);
    let mut bytes = vec![0; 4 << 20];
    wal.read_at(Lsn::new(1, 0), &mut bytes).unwrap();
    assert!(wal.mapped(1).is_none(), "the preallocator may still write zeros to it");
    // After the log is opened again, nothing more is written to the segment.
    wal.close().unwrap();
    let disk = Arc::new(PosixDisk::open(dir.path(), Some(Mode::Buffered)).unwrap());
    let (wal, _) = Wal::open_in(env(disk, Threads::Stepped), &options).unwrap();
    wal.read_at(Lsn::new(1, 0), &mut bytes).unwrap();
    assert!(wal.mapped(1).is_some_and(|map| map.as_ref() == bytes));
}

#[test]
fn its_file_is_not_used_again_while_somebody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let wal = create(dir.path());
    fill(&wal, 0..60);
    let segment = wal.active_segment();
    let held: Vec<Mapped> = (1..segment).map(|segment| mapped(&wal, segment).expect("a map")).collect();
    let before: Vec<Vec<u8>> = held.iter().map(|map| map.as_ref().to_vec()).collect();
    wal.release(segment).unwrap();
    fill(&wal, 60..180);
    let mut stepper = Stepper::new(&wal);
    for _ in 0..100 {
        stepper.idle();
        stepper.prepare().unwrap();
    }
    assert!(wal.active_segment() > segment + 3, "the log needed files");
    assert!(held.iter().zip(&before).all(|(map, before)| map.as_ref() == before), "a map has changed");
    drop(held);
    while stepper.prepare().unwrap() {}
    assert!(!dir.path().join("00000001.wal").exists(), "nobody reads it any more");
}

#[test]
fn a_file_that_cannot_be_read_whole_gets_no_map() {
    let dir = tempfile::tempdir().unwrap();
    let wal = create(dir.path());
    fill(&wal, 0..60);
    read(&wal, 1);
    // The file is shorter than its header says, so reading a map to its end would raise SIGBUS.
    let file = fs::OpenOptions::new().write(true).open(dir.path().join("00000001.wal")).unwrap();
    file.set_len(u64::from(SEGMENT_BYTES) / 2).unwrap();
    assert!(wal.mapped(1).is_none());
    let mut bytes = vec![0; 4096];
    wal.read_at(Lsn::new(1, 4096), &mut bytes).unwrap();
    wal.read_at(Lsn::new(1, SEGMENT_BYTES - 4096), &mut bytes).unwrap_err();
}
