//! Tests how far ahead of the durable end groups are written, and what open leaves unread because of that
//! bound (`docs/decisions/0017-how-far-open-reads.md`).
//!
//! These are cases that the random model reaches late or never.

use seawall_wal::disk::sim::{SimDisk, SimOptions, SimRandom, Ticking};
use seawall_wal::inspect::{GroupKind, inspect};
use seawall_wal::testing::fuzz::quick::{Places, agree};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{
    Durability, Env, Error, Lsn, Options, RecordBuilder, Threads, Wal, segments::SegmentIndexBuilder,
};
use std::sync::Arc;

const BLOCK: usize = 4096;
const FIRST: &str = "00000001.wal";

fn env(disk: &SimDisk, seed: u64) -> Env {
    Env {
        disk: disk.process(),
        clock: Arc::new(Ticking::default()),
        random: Arc::new(SimRandom::new(seed)),
        threads: Threads::Stepped,
    }
}

fn options(blocks: u32, reach: u32) -> Options {
    let (segment_bytes, in_flight_bytes) = (blocks * 4096, reach * 4096);
    Options::default()
        .with_segment_bytes(segment_bytes)
        .with_in_flight_bytes_max(in_flight_bytes)
        .with_writes_in_flight_max(4)
        .with_group_bytes(4096)
}

/// A new log whose first spares are prepared.
fn created(options: &Options, builder: Option<Box<dyn SegmentIndexBuilder>>) -> (Arc<SimDisk>, Wal) {
    let disk = SimDisk::new(1, SimOptions::default());
    let wal = Wal::create_in(env(&disk, 7), options).unwrap();
    if let Some(builder) = builder {
        wal.set_index_builder(builder).unwrap();
    }
    let stepper = Stepper::new(&wal);
    while stepper.prepare().unwrap() {}
    (disk, wal)
}

fn batch(bytes: usize, footer_bytes: u32) -> RecordBuilder {
    let mut batch = RecordBuilder::new();
    batch.set_footer_bytes(footer_bytes);
    batch.push_part(&vec![7; bytes]);
    batch
}

fn block_of(lsn: Lsn) -> usize {
    lsn.offset() as usize / BLOCK
}

/// An announcement is written in parallel with other groups, which its watermark does not cover. So open
/// writes a mark after it, as after any group but a mark, before it shows those groups.
#[test]
fn what_open_shows_after_an_announcement_is_covered() {
    let options = options(64, 4);
    let (disk, wal) = created(&options, None);
    let stepper = Stepper::new(&wal);
    for _ in 0..2 {
        wal.append(&batch(100, 0), Durability::Sync).unwrap().wait().unwrap();
    }
    let other = wal.append(&batch(100, 0), Durability::Sync).unwrap();
    let one = stepper.issue().unwrap();
    let long = wal.append(&batch(10 * BLOCK, 0), Durability::Sync).unwrap();
    let two = stepper.issue().expect("the announcement next to it");
    assert!(stepper.issue().is_none(), "the long group waits for both");
    stepper.complete(two);
    stepper.complete(one);
    assert!(wal.durable() > other.lsn() && wal.durable() < long.lsn());
    drop(wal);
    disk.kill();
    let (wal, _) = Wal::open_in(env(&disk, 8), &options).unwrap();
    assert!(wal.records(Lsn::ZERO).any(|record| record.unwrap().lsn() == other.lsn()));
    wal.close().unwrap();
    let found = inspect(&*disk.process()).unwrap();
    assert_eq!(found.segments[0].heads.last().map(|head| head.kind), Some(GroupKind::Mark));
    // The group rots to zeros. Without the mark they could be the rest of a torn write.
    disk.corrupt(FIRST, block_of(other.lsn()) * BLOCK, |bytes| bytes[..BLOCK].fill(0));
    assert!(matches!(Wal::open_in(env(&disk, 9), &options), Err(Error::Corrupt { .. })));
}

/// A footer may be longer than the reach, too. A crash may leave only its last block, and open still reads
/// far enough to find it.
#[test]
fn of_a_torn_footer_nothing_is_overlooked() {
    let options = options(32, 1);
    let (disk, wal) = created(&options, Some(Box::new(Places::wide(4096))));
    let stepper = Stepper::new(&wal);
    for _ in 0..8 {
        wal.append(&batch(100, 4096), Durability::Sync).unwrap().wait().unwrap();
    }
    let next = wal.append(&batch(18 * BLOCK, 4096), Durability::Sync).unwrap();
    assert_eq!(next.lsn().segment(), 2, "it does not fit next to the footer");
    stepper.complete(stepper.issue().expect("the announcement"));
    let before = disk.read_file(FIRST);
    stepper.complete(stepper.issue().expect("the footer"));
    let after = disk.read_file(FIRST);
    let changed = |at: &usize| before[at * BLOCK..][..BLOCK] != after[at * BLOCK..][..BLOCK];
    let written: Vec<usize> = (0..32).filter(changed).collect();
    assert!(written.len() > 4, "longer than what is read after a group: {written:?}");
    drop(wal);
    for &left in &written {
        let torn = disk.fork(5);
        let mut bytes = before.clone();
        bytes[left * BLOCK..][..BLOCK].copy_from_slice(&after[left * BLOCK..][..BLOCK]);
        torn.write_file(FIRST, &bytes);
        agree(&*torn.process());
        let (wal, _) = Wal::open_in(env(&torn, 9), &options).unwrap();
        for _ in 0..written.len() {
            wal.append(&batch(100, 0), Durability::Sync).unwrap().wait().unwrap();
        }
        drop(wal);
        torn.kill();
        Wal::open_in(env(&torn, 10), &options).expect("nothing is suspect on a sound disk");
    }
}

/// Records close to the largest length, with various shares of a footer, fit and never wait for ever,
/// whatever the reach is, and was when the spares were made.
#[test]
fn the_largest_record_fits_whatever_the_reach() {
    let less = [0, 1, 8, 63, 100, 4095, 4096, 5000];
    let shares = [0, 100, 3960, 4096, 8192];
    let fill = |wal: &Wal| {
        for (i, less) in less.into_iter().enumerate() {
            for footer_bytes in shares {
                let bare = batch(0, 0).encoded_len() + footer_bytes as usize;
                let Some(bytes) = wal.record_bytes_max().checked_sub(less + bare) else { continue };
                let class = if i % 2 == 0 { Durability::Sync } else { Durability::Lazy };
                let ticket = wal.append(&batch(bytes, footer_bytes), class).unwrap();
                if i % 3 == 0 {
                    ticket.wait().unwrap();
                }
            }
        }
    };
    for (blocks, reach) in [(6, 1), (7, 2), (9, 3), (9, 5), (14, 1), (14, 10), (14, 11), (14, 500)] {
        for (then_blocks, then_reach) in [(6, 1), (8, 3), (14, 5), (14, 500)] {
            let (disk, wal) = created(&options(blocks, reach), Some(Box::new(Places::default())));
            fill(&wal);
            if reach % 2 == 0 {
                wal.close().unwrap();
            } else {
                drop(wal);
                disk.crash();
            }
            agree(&*disk.fork(2));
            let builder = Box::new(Places::default());
            let (wal, _) = Wal::open_with(env(&disk, 8), &options(then_blocks, then_reach), builder).unwrap();
            fill(&wal);
            wal.close().unwrap();
            agree(&*disk.fork(2));
        }
    }
}
