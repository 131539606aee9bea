//! Files of the simulated disk: what survives a crash, torn and short writes, failures.

use super::*;
use crate::exact::write_all_at;
use crate::interface::{Access, Disk};
use crate::sim::{FaultError, FaultRule, SimDisk, SimOptions};
use std::io::ErrorKind;

const SEEDS: u64 = 60;

fn options(mode: Mode) -> SimOptions {
    SimOptions { mode, ..SimOptions::default() }
}

fn aligned(len: usize, byte: u8) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(len);
    buf.fill(byte);
    buf
}

/// A disk with a durable file "a" of 8192 ones, and a handle on it.
fn disk_with_file(seed: u64, mode: Mode) -> (Arc<SimDisk>, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(seed, options(mode));
    disk.write_file("a", &[1; 8192]);
    let file = disk.open("a", Access::Write).unwrap();
    (disk, file)
}

#[test]
fn unsynced_writes_are_lost_kept_or_torn_at_sectors() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(seed, Mode::Direct);
        file.write_at(&aligned(8192, 2), 0, false).unwrap();
        assert_eq!(disk.read_file("a"), [2; 8192]);
        disk.crash();
        let bytes = disk.read_file("a");
        assert!(bytes.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
        match (bytes.contains(&1), bytes.contains(&2)) {
            (true, false) => lost += 1,
            (false, _) => kept += 1,
            (true, true) => torn += 1,
        }
    }
    assert!(lost > 3 && kept > 3 && torn > 3, "{lost} {kept} {torn}");
}

#[test]
fn a_prefix_of_the_writes_often_survives() {
    let mut clean_prefixes = 0;
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed, options(Mode::Direct));
        disk.write_file("a", &[0; 16 * 4096]);
        let file = disk.open("a", Access::Write).unwrap();
        for i in 0..16 {
            file.write_at(&aligned(4096, 1), i * 4096, false).unwrap();
        }
        disk.crash();
        let bytes = disk.read_file("a");
        let ones = bytes.iter().filter(|&&byte| byte == 1).count();
        let run = bytes.iter().take_while(|&&byte| byte == 1).count();
        clean_prefixes += u32::from(run >= 4096 && run < bytes.len() && ones - run < 4096);
    }
    assert!(clean_prefixes > 5, "{clean_prefixes}");
}

#[test]
fn durable_and_synced_writes_survive_every_seed() {
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(seed, Mode::Direct);
        file.write_at(&aligned(4096, 9), 4096, false).unwrap();
        file.write_at(&aligned(4096, 2), 0, true).unwrap();
        file.write_at(&aligned(4096, 3), 8192, true).unwrap();
        disk.crash();
        let bytes = disk.read_file("a");
        assert_eq!((&bytes[..4096], &bytes[8192..]), (&[2; 4096][..], &[3; 4096][..]));

        let file = disk.open("a", Access::Write).unwrap();
        file.allocate(65536).unwrap();
        file.write_at(&aligned(4096, 4), 16384, false).unwrap();
        file.sync().unwrap();
        disk.crash();
        let bytes = disk.read_file("a");
        assert_eq!((bytes.len(), &bytes[16384..20480]), (65536, &[4; 4096][..]));
    }
}

#[test]
fn an_unsynced_file_is_empty_or_allocated_or_between() {
    let mut lens = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed, options(Mode::Direct));
        let file = disk.open("new", Access::Create).unwrap();
        file.allocate(8192).unwrap();
        file.write_at(&aligned(4096, 5), 8192, false).unwrap();
        assert_eq!(file.written_end(0).unwrap(), 0);
        disk.sync().unwrap();
        disk.crash();
        let bytes = disk.read_file("new");
        assert!(bytes.chunks(512).all(|sector| sector == [0; 512] || sector == [5; 512]));
        lens.insert(bytes.len());
    }
    assert_eq!(lens.into_iter().collect::<Vec<_>>(), [0, 8192, 12288]);
}

#[test]
fn an_interrupted_durable_write_or_sync_may_have_done_anything() {
    for sync in [false, true] {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..SEEDS {
            let (disk, file) = disk_with_file(seed, Mode::Direct);
            if sync {
                file.write_at(&aligned(8192, 2), 0, false).unwrap();
            }
            disk.crash_after(1);
            let result = if sync { file.sync() } else { file.write_at(&aligned(8192, 2), 0, true).map(drop) };
            assert!(SimDisk::is_crash(&result.unwrap_err()));
            disk.crash();
            let bytes = disk.read_file("a");
            match (bytes.contains(&1), bytes.contains(&2)) {
                (true, false) => lost += 1,
                (false, _) => kept += 1,
                (true, true) => torn += 1,
            }
        }
        assert!(lost > 3 && kept > 3 && torn > 3, "{lost} {kept} {torn}");
    }
}

#[test]
fn contracts_are_enforced() {
    let (disk, file) = disk_with_file(0, Mode::Direct);
    let mut buf = aligned(8192, 2);
    for result in [
        file.write_at(&buf[..4096], 512, true),
        file.write_at(&buf[..512], 0, true),
        file.write_at(&buf[512..4608], 0, true),
        file.read_medium(&mut buf, 512, 4096),
        file.read_medium(&mut buf, 0, 12288),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(disk.operations(), 0);
    let reader = disk.open("a", Access::Read).unwrap();
    assert_eq!(reader.write_at(&buf, 0, true).unwrap_err().raw_os_error(), Some(9));
    assert_eq!(reader.allocate(1 << 20).unwrap_err().raw_os_error(), Some(9));
    assert_eq!(file.allocate(u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(disk.read_file("a"), [1; 8192]);

    let (disk, file) = disk_with_file(0, Mode::Buffered);
    assert_eq!(file.write_at(&[3; 10], 8190, false).unwrap(), 10);
    assert_eq!(disk.read_file("a")[8189..], [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
}

#[test]
fn reads_end_at_the_length() {
    let (_disk, file) = disk_with_file(0, Mode::Direct);
    let mut buf = aligned(8192, 7);
    assert_eq!(file.read_at(&mut buf[..10], 8187).unwrap(), 5);
    assert_eq!(buf[..6], [1, 1, 1, 1, 1, 7]);
    assert_eq!(file.read_at(&mut buf, 8192).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, u64::MAX).unwrap(), 0);
    assert_eq!(file.read_medium(&mut buf, 4096, 8192).unwrap(), 4096);
    assert_eq!((file.len().unwrap(), file.links().unwrap()), (8192, 1));
}

#[test]
fn short_writes_end_on_units_and_can_be_continued() {
    for (mode, unit) in [(Mode::Direct, 4096), (Mode::Buffered, 512)] {
        let disk = SimDisk::new(4, SimOptions { short_writes: true, ..options(mode) });
        let file = disk.open("a", Access::Create).unwrap();
        let (mut short, mut odd) = (0, 0);
        for _ in 0..200 {
            let n = file.write_at(&aligned(16384, 1), 0, false).unwrap();
            assert!(n > 0 && n.is_multiple_of(unit));
            short += u32::from(n < 16384);
            odd += u32::from(!n.is_multiple_of(4096));
            file.sync().unwrap();
        }
        assert!((20..100).contains(&short), "{short}");
        assert_eq!(odd > 0, mode == Mode::Buffered);
        write_all_at(&*file, &aligned(65536, 2), 0, true).unwrap();
        disk.sync().unwrap();
        disk.crash();
        assert_eq!(disk.read_file("a"), [2; 65536]);
    }
}

#[test]
fn writes_fail_once_or_for_ever_and_may_be_torn() {
    let (disk, file) = disk_with_file(2, Mode::Direct);
    disk.fail(FaultRule::once(FaultOp::Write, 2, FaultError::Io).on("a"));
    file.write_at(&aligned(8192, 2), 0, true).unwrap();
    assert_eq!(file.write_at(&aligned(8192, 3), 0, true).unwrap_err().raw_os_error(), Some(5));
    let bytes = disk.read_file("a");
    assert!(bytes.contains(&2) && bytes.contains(&3) && !bytes.contains(&1));
    file.write_at(&aligned(8192, 4), 0, true).unwrap();

    disk.fail(FaultRule::forever(FaultOp::Write, 1, FaultError::Full));
    for _ in 0..3 {
        assert_eq!(file.write_at(&aligned(4096, 5), 0, true).unwrap_err().kind(), ErrorKind::StorageFull);
    }
    assert_eq!(disk.read_file("a"), [4; 8192]);
    disk.clear_faults();
    file.write_at(&aligned(4096, 5), 0, true).unwrap();

    disk.fail(FaultRule::once(FaultOp::Read, 1, FaultError::Io));
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 4);
}

#[test]
fn what_a_failed_sync_lost_no_later_sync_brings_back() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(seed, Mode::Buffered);
        disk.fail(FaultRule::once(FaultOp::Sync, 1, FaultError::Io));
        file.write_at(&aligned(8192, 2), 0, false).unwrap();
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
        file.sync().unwrap();
        assert_eq!(disk.read_file("a"), [2; 8192]);
        let fork = disk.fork(seed);
        file.drop_cache();
        let after_drop = disk.read_file("a");
        fork.crash();
        assert_eq!(fork.read_file("a"), after_drop);
        lost += u32::from(after_drop.contains(&1));
    }
    assert!(lost > 50, "{lost}");
}
