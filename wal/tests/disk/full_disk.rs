//! Tests that, on a simulated disk that fills up 20 times, appends fail with `NoSpace` and leave no trace,
//! nothing acknowledged is lost, the log opens while the disk is full, and appends succeed once there is
//! space (INV-8).
//!
//! `benches/full-disk.sh` does the same on real file systems, with threads; it needs root.

use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Disk, Mode};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Env, Error, Lsn, Options, RecordBuilder, Threads, Wal};
use std::sync::Arc;

const CAPACITY: u64 = 1 << 20;
const CYCLES: usize = 20;

fn env(disk: &SimDisk) -> Env {
    Env {
        disk: disk.process() as Arc<dyn Disk>,
        clock: Arc::new(SimClock::new()),
        random: Arc::new(SimRandom::new(3)),
        threads: Threads::Stepped,
    }
}

fn options() -> Options {
    Options::default().with_segment_bytes(64 << 10)
}

fn append(wal: &Wal, number: usize) -> Result<Lsn, Error> {
    let mut batch = RecordBuilder::new();
    batch.meta().extend_from_slice(&number.to_le_bytes());
    batch.push_part(&vec![number.to_le_bytes()[0]; 1000 + number % 5000]);
    wal.append(&batch, Durability::Sync)?.wait()
}

/// Asserts that the log holds exactly the records of `acknowledged`, from the first one on.
fn verify(wal: &Wal, acknowledged: &[(Lsn, usize)]) {
    let found: Vec<(Lsn, usize)> = wal
        .records(acknowledged[0].0)
        .map(|record| {
            let record = record.expect("sound");
            let number = usize::from_le_bytes(record.meta().try_into().expect("a number"));
            let (_, bytes) = record.parts().next().expect("one part");
            assert_eq!(bytes.len(), 1000 + number % 5000);
            assert!(bytes.iter().all(|b| *b == number.to_le_bytes()[0]));
            (record.lsn(), number)
        })
        .collect();
    assert_eq!(found, acknowledged);
}

fn fill_and_free(mode: Mode) {
    let disk = SimDisk::new(5, SimOptions { mode, capacity_bytes: Some(CAPACITY), ..SimOptions::default() });
    let mut wal = Wal::create_in(env(&disk), &options()).unwrap();
    let (mut acknowledged, mut next) = (Vec::new(), 0);
    for cycle in 0..CYCLES {
        let before = acknowledged.len();
        let error = loop {
            match append(&wal, next) {
                Ok(lsn) => acknowledged.push((lsn, next)),
                Err(error) => break error,
            }
            next += 1;
        };
        assert!(matches!(error, Error::NoSpace { .. }), "cycle {cycle}: {error}");
        assert!(acknowledged.len() > before + 50, "cycle {cycle}: hardly any room");
        verify(&wal, &acknowledged);
        // While the disk is full, the log ends in a crash, without closing, or orderly.
        if cycle % 4 > 0 {
            match cycle % 4 {
                1 => disk.crash(),
                2 => drop(wal),
                _ => match wal.close() {
                    Ok(()) | Err(Error::NoSpace { .. }) => {}
                    Err(error) => panic!("cycle {cycle}: {error}"),
                },
            }
            let (opened, report) = Wal::open_in(env(&disk), &options()).unwrap();
            assert!(report.dropped.is_empty(), "cycle {cycle}: {:?}", report.dropped);
            wal = opened;
            verify(&wal, &acknowledged);
        }
        // Either the disk grows, and shrinks again later, or the log releases what it does not need.
        if cycle % 5 == 3 {
            disk.set_capacity(Some(2 * CAPACITY));
        } else {
            disk.set_capacity(Some(CAPACITY));
            let below = wal.active_segment();
            wal.release(below).unwrap();
            acknowledged.retain(|(lsn, _)| lsn.segment() >= below);
        }
        let mut stepper = Stepper::new(&wal);
        // The first look finds the log busy and the second one finds it idle. The mark carries the release.
        (0..2).for_each(|_| stepper.idle());
        while stepper.prepare().unwrap() {}
        let lsn = append(&wal, next).unwrap_or_else(|e| panic!("cycle {cycle}: there is space: {e}"));
        acknowledged.push((lsn, next));
        next += 1;
        verify(&wal, &acknowledged);
    }
    wal.close().unwrap();
    let (wal, report) = Wal::open_in(env(&disk), &options()).unwrap();
    assert!(report.dropped.is_empty());
    verify(&wal, &acknowledged);
}

#[test]
fn a_direct_disk_fills_up_twenty_times() {
    fill_and_free(Mode::Direct);
}

#[test]
fn a_buffered_disk_fills_up_twenty_times() {
    fill_and_free(Mode::Buffered);
}

/// Open writes a mark. On a copy-on-write file system the mark takes a free block, because the old block is
/// kept until the new one is written.
#[test]
fn a_log_whose_blocks_take_room_when_they_are_written_again() {
    for mode in [Mode::Direct, Mode::Buffered] {
        let sim = SimOptions { mode, copies_on_write: true, ..SimOptions::default() };
        let disk = SimDisk::new(5, sim);
        let free = disk.free_bytes().unwrap();
        let wal = Wal::create_in(env(&disk), &options()).unwrap();
        let mut acknowledged = Vec::new();
        let mut next = 0;
        while wal.active_segment() < 12 {
            acknowledged.push((append(&wal, next).unwrap(), next));
            next += 1;
        }
        let used = free - disk.free_bytes().unwrap();
        disk.set_capacity(Some(used));
        // The write of a group fails, so the log stops. No acknowledged record is lost.
        let error = append(&wal, next).unwrap_err();
        assert!(matches!(&error, Error::Latched { .. }), "{mode:?}: {error}");
        drop(wal);
        disk.crash();
        for _ in 0..3 {
            let error = Wal::open_in(env(&disk), &options()).unwrap_err();
            assert!(matches!(&error, Error::NoSpace { .. }), "{mode:?}: {error}");
        }
        // With room for a few blocks the log opens and frees space: it removes released files, because their
        // zeros find no room.
        disk.set_capacity(Some(used + (32 << 10)));
        let (wal, _) = Wal::open_in(env(&disk), &options()).unwrap();
        verify(&wal, &acknowledged);
        let below = wal.active_segment();
        wal.release(below).unwrap();
        acknowledged.retain(|(lsn, _)| lsn.segment() >= below);
        let mut stepper = Stepper::new(&wal);
        (0..3).for_each(|_| stepper.idle());
        (0..200).for_each(|_| _ = stepper.prepare().unwrap());
        let room = disk.free_bytes().unwrap();
        assert!(room > 256 << 10, "{mode:?}: {room} bytes free");
        for _ in 0..40 {
            next += 1;
            acknowledged.push((append(&wal, next).unwrap(), next));
        }
        verify(&wal, &acknowledged);
    }
}
