//! Tests that a released file whose zeroing fails is removed, and is never taken for a file of zeros.
//!
//! The segments take several pieces of zeros, which are written one by one and synced once.

use super::harness::{ids, record, stepped};
use seawall_wal::disk::Mode;
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Options, Wal};
use std::sync::Arc;

/// More steps than the preallocator ever needs. If it takes this many, it makes no progress.
const STEPS_MAX: usize = 1000;

/// Options for segments with a header and three pieces of zeros of at most 1 MiB.
fn options() -> Options {
    Options::default().with_segment_bytes((5 << 20) / 2)
}

fn append(wal: &Wal, id: u64) {
    wal.append(&record(id, 400_000), Durability::Sync).unwrap().wait().unwrap();
    while Stepper::new(wal).prepare().unwrap() {}
}

/// Lets the preallocator zero released files until it has nothing to do. Returns the number of steps.
fn zero_what_is_released(wal: &Wal) -> usize {
    let stepper = Stepper::new(wal);
    let (mut steps, mut idle) = (0, 0);
    // The first look finds the log busy. Zeroing begins if the log is still quiet at the next one.
    while idle < 3 && steps < STEPS_MAX {
        match stepper.prepare().unwrap() {
            true => (steps, idle) = (steps + 1, 0),
            false => idle += 1,
        }
    }
    steps
}

/// A log whose first segments are released and not zeroed yet, the number of its next record, and the name of
/// the file that is zeroed first.
fn released(disk: &Arc<SimDisk>) -> (Wal, u64, String) {
    let wal = Wal::create_in(stepped(disk), &options()).unwrap();
    let mut next = 0;
    while wal.active_segment() < 4 {
        append(&wal, next);
        next += 1;
    }
    let first = format!("{:08x}.wal", wal.first_segment());
    wal.release(wal.active_segment()).unwrap();
    (0..2).for_each(|_| Stepper::new(&wal).idle());
    append(&wal, next);
    assert!(disk.exists(&first), "the released file is not kept");
    (wal, next + 1, first)
}

#[test]
fn a_released_file_whose_zeros_failed_is_never_taken_for_zeros() {
    for mode in [Mode::Direct, Mode::Buffered] {
        for (op, nth, error) in [
            // The first sync is that of the header's zeros, the second that of all other zeros.
            (FaultOp::Sync, 2, FaultError::Full),
            (FaultOp::Sync, 2, FaultError::Quota),
            (FaultOp::Sync, 2, FaultError::Io),
            (FaultOp::Sync, 1, FaultError::Full),
            (FaultOp::Write, 1, FaultError::Full),
            (FaultOp::Write, 3, FaultError::Io),
            (FaultOp::Write, 4, FaultError::Quota),
        ] {
            for seed in (u64::from(mode == Mode::Direct)..12).step_by(2) {
                let what = format!("{mode:?} {op:?} {nth} {error:?}, seed {seed}");
                let disk = SimDisk::new(seed, SimOptions { mode, ..SimOptions::default() });
                let (wal, mut next, first) = released(&disk);
                disk.fail(FaultRule::once(op, nth, error).on(&first));
                let steps = zero_what_is_released(&wal);
                disk.clear_faults();
                assert!(steps < STEPS_MAX, "{what}: steps without progress");
                // Appends through the recycled files, up to some place in one of them.
                let end = next + 14 + seed % 6;
                while next < end {
                    append(&wal, next);
                    next += 1;
                }
                let (live, given_up) = (ids(&wal), wal.stats().released_given_up);
                drop(wal);
                disk.crash();
                let (wal, report) = Wal::open_in(stepped(&disk), &options())
                    .unwrap_or_else(|e| panic!("{what}: a sound log is refused: {e}"));
                assert_eq!((ids(&wal), report.dropped), (live, Vec::new()), "{what}");
                assert_eq!(given_up, 1, "{what}: the statistics do not count the removed file");
            }
        }
    }
}

#[test]
fn zeroing_on_a_full_disk_is_no_busy_loop() {
    for error in [FaultError::Full, FaultError::Quota] {
        let disk = SimDisk::new(1, SimOptions { mode: Mode::Buffered, ..SimOptions::default() });
        let (wal, next, first) = released(&disk);
        // Rewriting the blocks of released files needs room, and there is none.
        let number = u32::from_str_radix(&first[..8], 16).unwrap();
        let names: Vec<String> = (number..wal.active_segment()).map(|n| format!("{n:08x}.wal")).collect();
        names.iter().for_each(|name| disk.fail(FaultRule::forever(FaultOp::Write, 2, error).on(name)));
        let before = disk.operations();
        assert!(zero_what_is_released(&wal) < STEPS_MAX, "{error:?}: steps without progress");
        assert!(disk.operations() - before < 40, "{error:?}: {}", disk.operations() - before);
        let stats = wal.stats();
        assert!(stats.released_given_up > 0 && stats.no_room > 0, "{stats:?}");
        // The log still works.
        append(&wal, next);
        assert!(ids(&wal).contains(&next));
    }
}

/// Runs a history in which files of several pieces are prepared, filled, released, zeroed and recycled.
#[test]
fn a_fault_at_any_operation_on_files_of_several_pieces() {
    let mut met = 0;
    for op in [FaultOp::Write, FaultOp::Sync] {
        for error in [FaultError::Full, FaultError::Quota, FaultError::Io] {
            for nth in (1..).step_by(5) {
                let mode = if nth % 2 == 0 { Mode::Direct } else { Mode::Buffered };
                let what = format!("{mode:?} {op:?} {nth} {error:?}");
                let disk = SimDisk::new(nth, SimOptions { mode, ..SimOptions::default() });
                let wal = Wal::create_in(stepped(&disk), &options()).unwrap();
                disk.fail(FaultRule::once(op, nth, error));
                let (mut acknowledged, mut live_from) = (Vec::new(), 0);
                for id in 0..36 {
                    let Ok(_) = wal.append(&record(id, 400_000), Durability::Sync).and_then(|t| t.wait())
                    else {
                        break;
                    };
                    acknowledged.push(id);
                    let stepper = Stepper::new(&wal);
                    while stepper.prepare().is_ok_and(|more| more) {}
                    if id % 12 == 11 && wal.release(wal.active_segment()).is_ok() {
                        live_from = id + 1;
                        (0..2).for_each(|_| Stepper::new(&wal).idle());
                        (0..40).for_each(|_| _ = stepper.prepare());
                    }
                }
                let fired = disk.clear_faults();
                met += u32::from(fired);
                assert!(fired || acknowledged.len() == 36, "{what}: {} acknowledged", acknowledged.len());
                drop(wal);
                disk.crash();
                let (wal, _) = Wal::open_in(stepped(&disk), &options())
                    .unwrap_or_else(|e| panic!("{what}: a sound log is refused: {e}"));
                let found = ids(&wal);
                let lost = acknowledged.iter().find(|&&id| id >= live_from && !found.contains(&id));
                assert_eq!(lost, None, "{what}: an acknowledged record is lost");
                if !fired {
                    break;
                }
            }
        }
    }
    assert!(met > 35, "{met}");
}
