//! Tests how open uses the file `CLOSED`, which names the end of a log that was closed, and how close writes
//! it.

use super::{BLOCK, Medium, Places, RECORDS, fill_log, name, options};
use crate::harness;

use harness::{record, stepped};
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions};
use seawall_wal::inspect::{Closed, inspect};
use seawall_wal::{
    Durability, Error, OpenMode, UnexplainedTail, Wal,
    report::{ClosedFault, Witness},
};

/// The end in `CLOSED` counts as a watermark: zeros over any blocks of the last segment, including the last
/// groups and their mark, are refused or lose nothing. Without that file some of these logs open shorter.
#[test]
fn zeros_over_the_end_of_a_closed_log_are_refused() {
    let disk = SimDisk::new(5, SimOptions::default());
    fill_log(Wal::create_in(stepped(&disk), &options(OpenMode::Strict, UnexplainedTail::Refuse)).unwrap());
    disk.kill();
    let (tail, mark) = Places::of(&*disk).mark;
    let (first, after) = (1, mark as usize / BLOCK + 1);
    let mut shorter = 0;
    for (from, to) in (first..after).flat_map(|from| (from + 1..=after).map(move |to| (from, to))) {
        for witness in [true, false] {
            let copy = disk.fork(1);
            copy.corrupt(&name(tail), from * BLOCK, |bytes| bytes[..(to - from) * BLOCK].fill(0));
            if !witness {
                copy.remove_file("CLOSED");
            }
            for verify_on_open in [false, true] {
                let strict =
                    options(OpenMode::Strict, UnexplainedTail::Refuse).with_verify_on_open(verify_on_open);
                match copy.open(&strict) {
                    Ok((wal, report)) => {
                        let kept = harness::ids(&wal).len() as u64;
                        assert_eq!(report.witness != Witness::Absent, witness);
                        assert!(
                            kept == RECORDS || !witness,
                            "zeros over {from}..{to}: {kept} records are left"
                        );
                        shorter += u64::from(kept < RECORDS);
                    }
                    Err(Error::Corrupt { damage, .. }) => assert!(!damage.is_empty()),
                    Err(error) => panic!("zeros over {from}..{to}: {error}"),
                }
                copy.kill();
            }
        }
    }
    assert!(shorter > 0, "without `CLOSED` no log opened shorter");
}

/// A `CLOSED` file that is damaged, old or of another log does not prevent an open. Open reports the file,
/// and the next close replaces it.
#[test]
fn a_damaged_or_old_witness_refuses_nothing() {
    let strict = options(OpenMode::Strict, UnexplainedTail::Refuse);
    let disk = SimDisk::new(5, SimOptions::default());
    fill_log(Wal::create_in(stepped(&disk), &strict).unwrap());
    disk.kill();
    let (wal, report) = disk.open(&strict).unwrap();
    let end = wal.durable();
    assert_eq!((report.witness, report.removed.len()), (Witness::End(end), 0));
    let old = disk.read_file("CLOSED");
    wal.append(&record(RECORDS, 3900), Durability::Sync).unwrap().wait().unwrap();
    wal.close().unwrap();
    disk.kill();
    let bytes = disk.read_file("CLOSED");
    assert!(bytes != old);
    let foreign = Closed { uuid: [9; 16], ..Closed::decode(&bytes).unwrap() }.encode().to_vec();
    let mut flipped = bytes.clone();
    flipped[33] ^= 1;
    let cases = [
        (old, Witness::End(end)),
        (foreign, Witness::Damaged(ClosedFault::Foreign)),
        (flipped, Witness::Damaged(ClosedFault::Checksum)),
        (bytes[..100].to_vec(), Witness::Damaged(ClosedFault::Size)),
        (vec![0; BLOCK], Witness::Damaged(ClosedFault::Magic)),
    ];
    for (file, expected) in cases {
        let copy = disk.fork(1);
        copy.write_file("CLOSED", &file);
        assert_eq!(inspect(&*copy).unwrap().witness, expected);
        for mode in [OpenMode::Salvage, OpenMode::Degraded, OpenMode::Strict] {
            let (wal, report) = copy.open(&options(mode, UnexplainedTail::Refuse)).unwrap();
            assert_eq!((report.witness, harness::ids(&wal).len() as u64), (expected, RECORDS + 1));
            if mode == OpenMode::Strict {
                wal.close().unwrap();
            } else {
                drop(wal);
            }
            copy.kill();
        }
        assert_eq!(copy.read_file("CLOSED"), bytes, "{expected:?}: not replaced");
    }
}

/// A close that cannot write `CLOSED` still closes the log, and the file of an earlier close stays.
#[test]
fn a_close_without_room_for_the_witness_succeeds() {
    let strict = options(OpenMode::Strict, UnexplainedTail::Refuse);
    for error in [FaultError::Full, FaultError::Io] {
        for (op, file) in [
            (FaultOp::Create, "CLOSED.new"),
            (FaultOp::Write, "CLOSED.new"),
            (FaultOp::Sync, "CLOSED.new"),
            (FaultOp::Rename, "CLOSED.new"),
        ] {
            let disk = SimDisk::new(5, SimOptions::default());
            fill_log(Wal::create_in(stepped(&disk), &strict).unwrap());
            disk.kill();
            let (wal, report) = disk.open(&strict).unwrap();
            let before = report.witness;
            wal.append(&record(RECORDS, 3900), Durability::Sync).unwrap().wait().unwrap();
            disk.fail(FaultRule::once(op, 1, error).on(file));
            wal.close().unwrap_or_else(|e| panic!("{op:?} {error:?}: {e}"));
            disk.clear_faults();
            disk.crash();
            let (wal, report) = disk.open(&strict).unwrap();
            assert_eq!((report.witness, harness::ids(&wal).len() as u64), (before, RECORDS + 1), "{op:?}");
        }
    }
}

/// Cuts the power at every operation of a close that has a record to write first. Nothing acknowledged is
/// lost, and no open is refused.
#[test]
fn a_close_cut_at_every_operation() {
    let strict = options(OpenMode::Strict, UnexplainedTail::Refuse);
    for nth in 1.. {
        for seed in 0..4 {
            let disk = SimDisk::new(seed, SimOptions::default());
            fill_log(Wal::create_in(stepped(&disk), &strict).unwrap());
            disk.kill();
            let (wal, _) = disk.open(&strict).unwrap();
            wal.append(&record(RECORDS, 3900), Durability::Sync).unwrap().wait().unwrap();
            drop(wal.append(&record(RECORDS + 1, 3900), Durability::Lazy).unwrap());
            disk.crash_after(nth);
            let _ = wal.close();
            let cut = disk.crash_reached();
            disk.crash();
            let (wal, report) = disk.open(&strict).unwrap_or_else(|e| panic!("{nth} {seed}: {e}"));
            let kept = harness::ids(&wal).len() as u64;
            assert!((RECORDS + 1..=RECORDS + 2).contains(&kept), "{nth} {seed}: {kept}");
            assert!(matches!(report.witness, Witness::End(_)), "{nth} {seed}: {:?}", report.witness);
            if !cut {
                assert_eq!((kept, report.witness), (RECORDS + 2, Witness::End(report.end)));
                assert!(nth > 4, "a close takes more operations");
                return;
            }
        }
    }
}
