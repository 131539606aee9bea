//! Tests that a group which is held back for more records is written when they have come, when their time has passed, and
//! when somebody cannot wait.

use crate::harness::Watchdog;
use seawall_wal::disk::clock::Clock;
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::testing::write_plans::{WritePlan, all, current, restrict};
use seawall_wal::{Durability, Env, Options, RecordBuilder, Threads, Ticket, Wal};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

const WRITE_NS: u64 = 100_000;

fn record() -> RecordBuilder {
    let mut batch = RecordBuilder::new();
    batch.push_part(&[1; 100]);
    batch
}

/// A stepped log that gathers.
fn stepped() -> (Wal, Arc<SimClock>) {
    let clock = Arc::new(SimClock::new());
    let env = Env {
        disk: SimDisk::new(1, SimOptions::default()),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        random: Arc::new(SimRandom::new(1)),
        threads: Threads::Stepped,
    };
    let wal = Wal::create_in(env, &Options::default().with_segment_bytes(1 << 20)).unwrap();
    restrict(&wal, vec![WritePlan::Gathered(u32::MAX)]);
    (wal, clock)
}

/// Appends `count` records, writes them as one group that takes [`WRITE_NS`], and leaves nothing in flight.
fn write(wal: &Wal, clock: &SimClock, count: usize) {
    for _ in 0..count {
        clock.advance_ns(WRITE_NS / 10);
        drop(wal.append(&record(), Durability::Sync).unwrap());
    }
    let stepper = Stepper::new(wal);
    let io = stepper.issue().unwrap();
    clock.advance_ns(WRITE_NS);
    stepper.complete(io);
}

#[test]
fn it_waits_until_as_many_records_have_come_as_were_answered() {
    let (wal, clock) = stepped();
    write(&wal, &clock, 4);
    write(&wal, &clock, 4);
    write(&wal, &clock, 4);
    let stepper = Stepper::new(&wal);
    for _ in 0..3 {
        drop(wal.append(&record(), Durability::Sync).unwrap());
        assert!(stepper.issue_in_time(clock.now_ns()).is_none());
    }
    drop(wal.append(&record(), Durability::Sync).unwrap());
    assert_eq!(stepper.held_back_until_ns(), None);
    let io = stepper.issue_in_time(clock.now_ns()).expect("all four have come");
    stepper.complete(io);
}

#[test]
fn it_waits_no_longer_than_a_write_takes() {
    let (wal, clock) = stepped();
    write(&wal, &clock, 4);
    write(&wal, &clock, 4);
    let stepper = Stepper::new(&wal);
    drop(wal.append(&record(), Durability::Sync).unwrap());
    let until_ns = stepper.held_back_until_ns().expect("held back");
    assert!(until_ns <= clock.now_ns() + WRITE_NS);
    assert!(stepper.issue_in_time(until_ns - 1).is_none());
    let io = stepper.issue_in_time(until_ns).expect("its time has passed");
    stepper.complete(io);
}

#[test]
fn a_lone_writer_waits_for_nobody() {
    let (wal, clock) = stepped();
    let stepper = Stepper::new(&wal);
    for _ in 0..100 {
        drop(wal.append(&record(), Durability::Sync).unwrap());
        let io = stepper.issue_in_time(clock.now_ns()).expect("it is written at once");
        clock.advance_ns(WRITE_NS);
        stepper.complete(io);
        clock.advance_ns(WRITE_NS / 2);
    }
}

/// A log with threads, that only uses `plan`.
fn real(plan: WritePlan, options: &Options) -> (tempfile::TempDir, Wal) {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::create(dir.path().join("log"), options).unwrap();
    restrict(&wal, vec![plan]);
    (dir, wal)
}

#[test]
fn every_plan_makes_all_records_durable_in_order() {
    let _watchdog = Watchdog::new("every_plan_makes_all_records_durable_in_order");
    for plan in all(8) {
        for yield_max_us in [0, 1000] {
            let options = Options::default().with_segment_bytes(1 << 20).with_yield_max_us(yield_max_us);
            let (_dir, wal) = real(plan, &options);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            wal.append(&record(), Durability::Sync).unwrap().wait().unwrap();
                        }
                    });
                }
                scope.spawn(|| {
                    let (send, done) = mpsc::channel();
                    let append = || {
                        let send = send.clone();
                        let ticket = wal.append(&record(), Durability::Sync).unwrap();
                        ticket.on_durable(move |result| _ = send.send(result.unwrap()));
                    };
                    (0..8).for_each(|_| append());
                    let mut last = None;
                    for at in 0..200 {
                        let lsn = done.recv().unwrap();
                        assert!(last.replace(lsn) < Some(lsn));
                        if at < 192 {
                            append();
                        }
                    }
                });
            });
            assert_eq!(current(&wal), plan);
            wal.close().unwrap();
        }
    }
}

#[test]
fn appends_that_wait_for_room_and_a_close_end_it() {
    let _watchdog = Watchdog::new("appends_that_wait_for_room_and_a_close_end_it");
    let options = Options::default().with_segment_bytes(1 << 20).with_yield_max_us(0);
    let (_dir, wal) = real(WritePlan::Gathered(u32::MAX), &options);
    for _ in 0..20 {
        let tickets: Vec<Ticket> =
            (0..50).map(|_| wal.append(&record(), Durability::Sync).unwrap()).collect();
        tickets.last().unwrap().wait().unwrap();
        // Only one of the 50 comes back.
        let ticket = wal.append(&record(), Durability::Sync).unwrap();
        assert!(ticket.wait_timeout(Duration::from_secs(30)).unwrap().is_some());
    }
    drop(wal.append(&record(), Durability::Sync).unwrap());
    wal.close().unwrap();
}
