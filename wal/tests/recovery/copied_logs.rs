//! Tests that a log does not take groups for its own that a copy of it wrote after the copy was made (INV-6).

use crate::harness;

use harness::{ids, record, stepped};
use seawall_wal::disk::sim::{SimDisk, SimOptions, SimRandom};
use seawall_wal::inspect::inspect;
use seawall_wal::{Durability, Env, Error, Options, UnexplainedTail, Wal};
use std::sync::Arc;

fn options(suspect: UnexplainedTail) -> Options {
    Options::default().with_segment_bytes(40 << 10).with_unexplained_tail(suspect)
}

/// Opens the log with its own random numbers and appends records `ids`.
fn append_and_reopen(disk: &Arc<SimDisk>, random: u64, ids: std::ops::Range<u64>) {
    let env = Env { random: Arc::new(SimRandom::new(random)), ..stepped(disk) };
    let (wal, _) = Wal::open_in(env, &options(UnexplainedTail::Refuse)).unwrap();
    for id in ids {
        wal.append(&record(id, 3000), Durability::Sync).unwrap().wait().unwrap();
    }
    drop(wal);
    disk.kill();
}

#[test]
fn groups_of_a_copy_that_went_on_are_not_read() {
    let disk = SimDisk::new(1, SimOptions::default());
    drop(Wal::create_in(stepped(&disk), &options(UnexplainedTail::Refuse)).unwrap());
    disk.kill();
    let (one, other) = (disk.fork(1), disk.fork(2));
    append_and_reopen(&one, 1, 100..140);
    append_and_reopen(&other, 2, 200..230);
    // Both logs have made this segment since the copy. `one` has a group where `other` has not written yet.
    let end = inspect(&*other).unwrap().verdict.unwrap().end;
    let name = format!("{:08x}.wal", end.segment());
    let (from, to) = (end.offset() as usize, end.offset() as usize + 4096);
    let group = one.read_file(&name)[from..to].to_vec();
    assert!(group.iter().any(|&b| b != 0), "{name} of the other log has nothing at {from}");
    other.corrupt(&name, from, |bytes| bytes[..4096].copy_from_slice(&group));

    let refused = Wal::open_in(stepped(&other), &options(UnexplainedTail::Refuse));
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "such bytes are no torn write");
    let (wal, report) = Wal::open_in(stepped(&other), &options(UnexplainedTail::Drop)).unwrap();
    assert_eq!(ids(&wal), (200..230).collect::<Vec<_>>());
    assert!(!report.dropped.is_empty());
}
