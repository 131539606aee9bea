//! Tests that readers of a log that is being written see all durable records and no others, at every moment
//! of a rotation (INV-1), and that they can finish reading released segments.

use crate::harness;

use harness::{ids, record, stepped};
use seawall_wal::disk::Mode;
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Lsn, Options, Ticket, Wal};

#[test]
fn a_segment_that_was_left_is_read_up_to_what_is_durable() {
    for mode in [Mode::Direct, Mode::Buffered] {
        let disk = SimDisk::new(1, SimOptions { mode, ..SimOptions::default() });
        let options = Options::default().with_segment_bytes(40 << 10);
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        // Nothing is written yet, but the appends have entered two more segments.
        let tickets: Vec<Ticket> =
            (0..25).map(|id| wal.append(&record(id, 3000), Durability::Sync).unwrap()).collect();
        assert!(wal.active_segment() > 2);
        let stepper = Stepper::new(&wal);
        loop {
            let durable = tickets.iter().filter(|ticket| ticket.is_durable()).count() as u64;
            assert_eq!(ids(&wal), (0..durable).collect::<Vec<_>>(), "{mode:?}");
            for ticket in &tickets[usize::try_from(durable).unwrap()..] {
                assert_eq!(
                    wal.records(ticket.lsn()).count(),
                    0,
                    "{mode:?}: a record was read that is not durable"
                );
            }
            let Some(io) = stepper.issue() else { break };
            stepper.complete(io);
        }
        assert!(wal.durable() > Lsn::ZERO && tickets[20].is_durable());
    }
}

#[test]
fn a_reader_keeps_what_is_released_meanwhile() {
    let disk = SimDisk::new(2, SimOptions::default());
    let options = Options::default().with_segment_bytes(40 << 10);
    let wal = Wal::create_in(stepped(&disk), &options).unwrap();
    let fill = |ids: std::ops::Range<u64>| {
        for id in ids {
            wal.append(&record(id, 3000), Durability::Sync).unwrap().wait().unwrap();
        }
    };
    fill(0..25);
    let mut reader = wal.records(Lsn::ZERO);
    let first = reader.next().unwrap().unwrap();
    assert_eq!(first.lsn().segment(), 1);
    wal.release(wal.active_segment()).unwrap();
    fill(25..80);
    let mut stepper = Stepper::new(&wal);
    for _ in 0..100 {
        stepper.idle();
        stepper.prepare().unwrap();
    }
    // The reader may have to open the file again, so the file keeps its name.
    assert!(wal.first_segment() > 2 && disk.exists("00000001.wal"));
    let rest: Vec<u64> =
        reader.map(|record| u64::from_le_bytes(record.unwrap().meta().try_into().unwrap())).collect();
    assert_eq!(rest, (1..25).collect::<Vec<_>>());
    while stepper.prepare().unwrap() {}
    assert!(!disk.exists("00000001.wal"), "nobody reads it any more");
}
