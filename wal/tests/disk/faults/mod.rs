//! Tests that after a fault at any operation of a history everyone is answered exactly once and no crash
//! loses an acknowledged record, and that a full disk does not stop the log (INV-1, INV-7, INV-8).
//!
//! The histories run in both modes, stepped and with threads.

use crate::harness;
mod released;
mod table;

use harness::{Watchdog, env, ids, record, sleep_ms, stepped};
use seawall_wal::disk::Mode;
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions};
use seawall_wal::testing::stepper::{StepIo, Stepper};
use seawall_wal::{Durability, Error, Lsn, Options, Threads, Wal};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Records of one history, which makes some 200 operations on the disk.
const RECORDS: u64 = 150;

const OPS: [FaultOp; 8] = [
    FaultOp::Open,
    FaultOp::Write,
    FaultOp::Sync,
    FaultOp::Allocate,
    FaultOp::Create,
    FaultOp::Rename,
    FaultOp::Remove,
    FaultOp::DirSync,
];

fn options() -> Options {
    Options::default().with_segment_bytes(48 << 10).with_idle_ms(1).with_writes_in_flight_max(3)
}

fn disk(seed: u64, mode: Mode, short_writes: bool) -> Arc<SimDisk> {
    SimDisk::new(seed, SimOptions { mode, short_writes, ..SimOptions::default() })
}

/// All answers for one record.
type Given = Vec<Result<Lsn, Error>>;

/// The answers for the records of one history.
#[derive(Clone, Default)]
struct Answers {
    given: Arc<Mutex<BTreeMap<u64, Given>>>,
    changed: Arc<Condvar>,
}

impl Answers {
    fn append(&self, wal: &Wal, id: u64, bytes: usize, class: Durability) -> Result<(), Error> {
        let ticket = wal.append(&record(id, bytes), class)?;
        let (given, changed) = (Arc::clone(&self.given), Arc::clone(&self.changed));
        given.lock().unwrap().insert(id, Vec::new());
        ticket.on_durable(move |result| {
            given.lock().unwrap().get_mut(&id).unwrap().push(result);
            changed.notify_all();
        });
        Ok(())
    }

    /// Numbers of the acknowledged records. Asserts that they are a prefix of those that were appended.
    fn acknowledged(&self, what: &str) -> Vec<u64> {
        let given = self.given.lock().unwrap();
        assert!(given.values().all(|g| g.len() <= 1), "{what}: answered twice");
        let good: Vec<bool> = given.values().map(|g| matches!(g.first(), Some(Ok(_)))).collect();
        assert!(good.is_sorted_by(|a, b| a >= b), "{what}: not a prefix");
        given.iter().filter(|(_, g)| matches!(g.first(), Some(Ok(_)))).map(|(&id, _)| id).collect()
    }

    /// Waits until every record is answered, and for ever if an answer is missing. Closing does not wait for
    /// callbacks, so with threads some may still be outstanding.
    fn wait_for_all(&self) {
        let given = self.given.lock().unwrap();
        let waits = |given: &mut BTreeMap<u64, Given>| given.values().any(Vec::is_empty);
        drop(self.changed.wait_while(given, waits).unwrap());
    }

    fn all_answered(&self) -> bool {
        self.given.lock().unwrap().values().all(|g| g.len() == 1)
    }
}

/// Asserts that after a crash, with any of a few seeds, every acknowledged record from `live_from` on is
/// there.
fn check_crashes(disk: &SimDisk, acknowledged: &[u64], live_from: u64, what: &str) {
    for seed in 0..3 {
        let disk = disk.fork(seed);
        disk.clear_faults();
        disk.crash();
        let (wal, _) = Wal::open_in(stepped(&disk), &options()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let found = ids(&wal);
        assert!(found.is_sorted(), "{what}");
        let lost = acknowledged.iter().find(|&&id| id >= live_from && !found.contains(&id));
        assert_eq!(lost, None, "{what}: an acknowledged record is lost");
    }
}

/// The end of a history.
struct End {
    answers: Answers,
    /// The error that ended the history early.
    error: Option<Error>,
    /// The first record that was not released.
    live_from: u64,
    /// Whether a step of the preallocator failed.
    pipeline_failed: bool,
}

/// Runs a fixed history of some 200 operations on the disk. A failure of the log ends it.
fn history(wal: &Wal) -> End {
    history_of(wal, RECORDS)
}

/// Like [`history`], with the first `records` records.
fn history_of(wal: &Wal, records: u64) -> End {
    let mut end = End { answers: Answers::default(), error: None, live_from: 0, pipeline_failed: false };
    let mut stepper = Stepper::new(wal);
    let mut flying: Vec<StepIo> = Vec::new();
    let mut first_of: BTreeMap<u32, u64> = BTreeMap::new();
    for id in 0..records {
        let bytes = [100, 3000, 9000, 0, 5000][usize::try_from(id % 5).unwrap()];
        let class = if id % 7 == 3 { Durability::Lazy } else { Durability::Sync };
        let mut tries = 0;
        loop {
            match end.answers.append(wal, id, bytes, class) {
                Ok(()) => break,
                // The fault does not last, so the next try finds space or a descriptor.
                Err(error) if error.is_back_pressure() && tries < 20 => tries += 1,
                Err(error) => {
                    end.error = Some(error);
                    break;
                }
            }
            if let Err(error) = stepper.prepare() {
                end.pipeline_failed = true;
                end.error = Some(error);
                break;
            }
        }
        if end.error.is_some() {
            break;
        }
        first_of.entry(wal.active_segment()).or_insert(id);
        flying.extend(std::iter::from_fn(|| stepper.issue()).take(2));
        if id % 3 == 2 {
            flying.drain(..).rev().for_each(|io| stepper.complete(io));
        }
        if id % 2 == 1
            && let Err(error) = stepper.prepare()
        {
            end.pipeline_failed = true;
            end.error = Some(error);
            break;
        }
        if id % 20 == 19 {
            flying.drain(..).for_each(|io| stepper.complete(io));
            stepper.idle();
        }
        if id % 30 == 29 {
            let segment = wal.durable().segment().saturating_sub(1);
            if wal.release(segment).is_ok() {
                end.live_from = first_of.range(segment..).next().map_or(0, |(_, &id)| id);
            }
        }
    }
    flying.drain(..).for_each(|io| stepper.complete(io));
    if end.error.is_none()
        && let Err(error) = wal.flush()
    {
        end.error = Some(error);
    }
    end
}

fn is_latched(error: &Error) -> bool {
    matches!(error, Error::Latched { .. } | Error::Io { .. })
}

#[test]
fn eio_at_every_operation_of_a_stepped_history() {
    let mut runs = 0;
    for (mode, short) in
        [(Mode::Direct, false), (Mode::Buffered, false), (Mode::Direct, true), (Mode::Buffered, true)]
    {
        for op in OPS {
            for nth in 1.. {
                let disk = disk(nth, mode, short);
                let wal = Wal::create_in(stepped(&disk), &options()).unwrap();
                disk.fail(FaultRule::once(op, nth, FaultError::Io));
                let end = history(&wal);
                let what = format!("{mode:?} {op:?} {nth}");
                let Some(error) = end.error else {
                    // The history has fewer operations of this kind.
                    assert_eq!(end.answers.acknowledged(&what).len() as u64, RECORDS);
                    break;
                };
                runs += 1;
                assert!(is_latched(&error), "{what}: {error}");
                assert!(end.answers.all_answered(), "{what}: a caller got no answer");
                let acknowledged = end.answers.acknowledged(&what);
                // Every later call gets the error, and nothing more is acknowledged.
                let later = wal.append(&record(99, 1), Durability::Sync).map(drop).unwrap_err();
                assert!(matches!(later, Error::Latched { .. }), "{what}: {later}");
                assert!(wal.flush().is_err() && Stepper::new(&wal).issue().is_none());
                assert!(wal.close().is_err());
                assert_eq!(end.answers.acknowledged(&what), acknowledged);
                check_crashes(&disk, &acknowledged, end.live_from, &what);
                // A log that is reopened without a power cut shows only records that the device has.
                disk.clear_faults();
                disk.kill();
                let (wal, _) = Wal::open_in(stepped(&disk), &options()).unwrap();
                let shown = ids(&wal);
                drop(wal);
                check_crashes(&disk, &acknowledged, end.live_from, &what);
                check_crashes(&disk, &shown, 0, &what);
            }
        }
    }
    assert!(runs > 700, "{runs} operations");
}

#[test]
fn enospc_at_every_operation_of_a_stepped_history() {
    for mode in [Mode::Direct, Mode::Buffered] {
        for op in OPS {
            for nth in 1..=180 {
                let disk = disk(nth, mode, false);
                let wal = Wal::create_in(stepped(&disk), &options()).unwrap();
                disk.fail(FaultRule::once(op, nth, FaultError::Full));
                let end = history(&wal);
                let what = format!("{mode:?} {op:?} {nth}");
                assert!(!end.pipeline_failed, "{what}: the preallocator stopped the log: {:?}", end.error);
                let acknowledged = end.answers.acknowledged(&what);
                match end.error {
                    // A group found no room in blocks that had been written before, so the log cannot
                    // continue.
                    Some(error) => {
                        assert!(
                            is_latched(&error) && matches!(op, FaultOp::Write | FaultOp::Sync),
                            "{what}: {error}"
                        );
                        assert!(end.answers.all_answered(), "{what}: a caller got no answer");
                    }
                    None => assert_eq!(acknowledged.len() as u64, RECORDS, "{what}"),
                }
                drop(wal);
                check_crashes(&disk, &acknowledged, end.live_from, &what);
            }
        }
    }
}

/// Four threads append and wait, and register callbacks, until the log fails or their records are used up.
/// Returns the numbers of the records for which a wait succeeded.
fn threaded_history(wal: &Wal, answers: &Answers) -> Vec<u64> {
    let waited = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let waited = &waited;
            scope.spawn(move || {
                for n in 0..25 {
                    let id = thread * 25 + n;
                    let Ok(ticket) = wal.append(&record(id, 3000), Durability::Sync) else { return };
                    if ticket.wait().is_ok() {
                        waited.lock().unwrap().push(id);
                    }
                    if answers.append(wal, 1000 + id, 10, Durability::Sync).is_err() {
                        return;
                    }
                }
            });
        }
    });
    waited.into_inner().unwrap()
}

#[test]
fn eio_at_every_operation_under_threads() {
    let _watchdog = Watchdog::new("eio under threads");
    for mode in [Mode::Direct, Mode::Buffered] {
        for op in [FaultOp::Write, FaultOp::Sync, FaultOp::Rename, FaultOp::DirSync] {
            for nth in 1.. {
                let disk = disk(nth, mode, nth % 2 == 0);
                let wal = Wal::create_in(env(disk.process(), Threads::Spawned), &options()).unwrap();
                disk.fail(FaultRule::once(op, nth, FaultError::Io));
                let answers = Answers::default();
                let mut acknowledged = threaded_history(&wal, &answers);
                let failed = wal.close().is_err();
                let what = format!("{mode:?} {op:?} {nth}");
                answers.wait_for_all();
                assert!(answers.all_answered(), "{what}: a caller got two answers");
                assert!(failed || acknowledged.len() == 100, "{what}");
                let given = answers.given.lock().unwrap();
                acknowledged.extend(given.iter().filter(|(_, g)| g[0].is_ok()).map(|(id, _)| id));
                drop(given);
                for seed in 0..2 {
                    let disk = disk.fork(seed);
                    disk.clear_faults();
                    disk.crash();
                    let (wal, _) = Wal::open_in(stepped(&disk), &options()).unwrap();
                    let found = ids(&wal);
                    let lost = acknowledged.iter().find(|id| !found.contains(id));
                    assert_eq!(lost, None, "{what}: an acknowledged record is lost");
                }
                if !failed || nth > 40 {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_full_disk_holds_appends_up_and_lets_them_go_on() {
    let _watchdog = Watchdog::new("full disk");
    for mode in [Mode::Direct, Mode::Buffered] {
        for threads in [Threads::Stepped, Threads::Spawned] {
            let disk = disk(1, mode, false);
            let wal = Wal::create_in(env(disk.process(), threads), &options()).unwrap();
            disk.set_capacity(Some(300 << 10));
            let append = |id| match wal.append(&record(id, 9000), Durability::Sync) {
                Ok(ticket) => ticket.wait().map(|_| true),
                Err(Error::NoSpace { .. }) => Ok(false),
                Err(error) => Err(error),
            };
            let patiently = |id| {
                let end = Instant::now() + Duration::from_secs(5);
                while !append(id).unwrap() {
                    assert!(
                        Instant::now() < end,
                        "{mode:?} {threads:?} still no space {id} {:?} {:?}",
                        wal.stats(),
                        disk.names()
                    );
                    sleep_ms(1);
                    if threads == Threads::Stepped {
                        let mut stepper = Stepper::new(&wal);
                        // The log counts as quiet from the first look on, and as idle at the second.
                        stepper.idle();
                        stepper.idle();
                        stepper.prepare().unwrap();
                    }
                }
            };
            let mut next = 0;
            while append(next).unwrap() {
                next += 1;
            }
            assert!((8..40).contains(&next), "{next}");
            // A refused record leaves no trace, and the earlier records are still there.
            assert_eq!(ids(&wal), (0..next).collect::<Vec<_>>());
            disk.set_capacity(Some(600 << 10));
            (next..next + 8).for_each(patiently);
            next += 8;
            while append(next).unwrap() {
                next += 1;
            }
            wal.release(wal.active_segment()).unwrap();
            let live = ids(&wal)[0];
            (next..next + 8).for_each(patiently);
            next += 8;
            wal.close().unwrap();
            disk.crash();
            let (wal, _) = Wal::open_in(stepped(&disk), &options()).unwrap();
            assert_eq!(ids(&wal), (live..next).collect::<Vec<_>>());
        }
    }
}
