//! Tests that, with many threads on a real directory, every ticket is answered, callbacks run in log order,
//! and acknowledged records are there after reopening (INV-1, INV-2, INV-7).

use crate::harness;

use harness::{Watchdog, ids, record, sleep_ms};
use seawall_wal::{Durability, Error, Lsn, Options, Strategy, Wal};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

fn options(strategy: Strategy) -> Options {
    Options::default()
        .with_segment_bytes(128 << 10)
        .with_queue_bytes(256 << 10)
        .with_idle_ms(5)
        .with_strategy(strategy)
}

/// Waits until `done` returns true, for five seconds at most.
#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < end, "not within five seconds");
        sleep_ms(1);
    }
}

/// The state that the threads of one run share.
struct Shared {
    wal: Wal,
    stop: AtomicBool,
    next_id: AtomicU64,
    /// Numbers of the records whose ticket was answered with `Ok`.
    acknowledged: Mutex<Vec<u64>>,
    /// Positions of records, in the order in which their callbacks ran.
    called: Arc<Mutex<Vec<Lsn>>>,
    callbacks: AtomicU64,
    released: AtomicU64,
}

impl Shared {
    fn append(&self, class: Durability) -> (u64, seawall_wal::Ticket) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let bytes = usize::try_from(id * 7919 % 5000).unwrap();
        (id, self.wal.append(&record(id, bytes), class).unwrap())
    }

    fn acknowledge(&self, id: u64) {
        self.acknowledged.lock().unwrap().push(id);
    }

    fn running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn everything_at_once(strategy: Strategy) {
    let place = tempfile::tempdir().unwrap();
    let options = options(strategy);
    let shared = Arc::new(Shared {
        wal: Wal::create(place.path(), &options).unwrap(),
        stop: AtomicBool::new(false),
        next_id: AtomicU64::new(0),
        acknowledged: Mutex::default(),
        called: Arc::default(),
        callbacks: AtomicU64::new(0),
        released: AtomicU64::new(0),
    });
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while shared.running() {
                    let (id, ticket) = shared.append(Durability::Sync);
                    assert_eq!(ticket.wait().unwrap(), ticket.lsn());
                    shared.acknowledge(id);
                }
            });
            scope.spawn(|| {
                while shared.running() {
                    let (id, ticket) = shared.append(Durability::Sync);
                    let lsn = ticket.lsn();
                    assert_eq!(futures_lite::future::block_on(ticket).unwrap(), lsn);
                    shared.acknowledge(id);
                }
            });
        }
        // One thread registers all callbacks, so the order of registration is that of the log.
        scope.spawn(|| {
            while shared.running() {
                let (id, ticket) =
                    shared.append(if id_is_odd(&shared) { Durability::Sync } else { Durability::Lazy });
                let (lsn, other) = (ticket.lsn(), Arc::clone(&shared));
                shared.callbacks.fetch_add(1, Ordering::Relaxed);
                ticket.on_durable(move |result| {
                    assert_eq!(result.unwrap(), lsn);
                    other.called.lock().unwrap().push(lsn);
                    other.acknowledge(id);
                    assert!(id % 50 != 7, "a bug in a callback");
                });
                std::thread::yield_now();
            }
        });
        // This thread polls its tickets, of sync and lazy records, and waits for none.
        scope.spawn(|| {
            while shared.running() {
                let (id, ticket) =
                    shared.append(if id_is_odd(&shared) { Durability::Sync } else { Durability::Lazy });
                eventually(|| ticket.is_durable());
                shared.acknowledge(id);
            }
        });
        scope.spawn(|| {
            while shared.running() {
                let segment = shared.wal.durable().segment();
                if segment > 20 {
                    shared.released.store(u64::from(segment - 20), Ordering::SeqCst);
                    shared.wal.release(segment - 20).unwrap();
                }
                sleep_ms(20);
            }
        });
        scope.spawn(|| {
            while shared.running() {
                let mut last = Lsn::ZERO;
                for record in shared.wal.records(Lsn::ZERO) {
                    match record {
                        Ok(record) => {
                            assert!(record.lsn() > last);
                            last = record.lsn();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                sleep_ms(10);
            }
        });
        sleep_ms(2000);
        shared.stop.store(true, Ordering::Relaxed);
    });
    let count = shared.callbacks.load(Ordering::Relaxed);
    eventually(|| shared.called.lock().unwrap().len() as u64 == count);
    let called = shared.called.lock().unwrap().clone();
    assert!(called.is_sorted(), "callbacks out of order");
    eventually(|| Arc::strong_count(&shared) == 1);
    let shared = Arc::into_inner(shared).unwrap();
    let (total, acknowledged) = (shared.next_id.into_inner(), shared.acknowledged.into_inner().unwrap());
    assert_eq!(acknowledged.len() as u64, total, "every ticket is answered");
    assert!(shared.wal.stats().rotations > 20 && total > 500, "{:?}", shared.wal.stats());
    let first = shared.wal.first_segment();
    let live: BTreeSet<u64> = ids(&shared.wal).into_iter().collect();
    drop(shared.wal);
    let (wal, report) = Wal::open(place.path(), &options).unwrap();
    assert!(u64::from(report.first_live) <= shared.released.into_inner().max(1));
    assert!(report.first_live <= first && report.dropped.is_empty());
    let found: BTreeSet<u64> = ids(&wal).into_iter().collect();
    assert!(live.is_subset(&found));
    assert!(found.len() > 100);
    wal.close().unwrap();
}

fn id_is_odd(shared: &Shared) -> bool {
    shared.next_id.load(Ordering::Relaxed) % 2 == 1
}

#[test]
fn everything_at_once_with_direct_writes_where_the_file_system_has_them() {
    let _watchdog = Watchdog::new("everything at once, auto");
    everything_at_once(Strategy::Auto);
}

#[test]
fn everything_at_once_with_syncs() {
    let _watchdog = Watchdog::new("everything at once, sync");
    everything_at_once(Strategy::Sync);
}

#[test]
fn nothing_acknowledged_is_missing_without_release() {
    let _watchdog = Watchdog::new("reopen");
    for strategy in [Strategy::Auto, Strategy::Sync] {
        let place = tempfile::tempdir().unwrap();
        let wal = Wal::create(place.path(), &options(strategy)).unwrap();
        let (next, acknowledged) = (AtomicU64::new(0), Mutex::new(BTreeSet::new()));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let end = Instant::now() + Duration::from_millis(400);
                    while Instant::now() < end {
                        let id = next.fetch_add(1, Ordering::Relaxed);
                        wal.append(&record(id, 3000), Durability::Sync).unwrap().wait().unwrap();
                        acknowledged.lock().unwrap().insert(id);
                    }
                });
            }
        });
        drop(wal);
        let (wal, _) = Wal::open(place.path(), &options(strategy)).unwrap();
        let found: BTreeSet<u64> = ids(&wal).into_iter().collect();
        assert!(acknowledged.into_inner().unwrap().is_subset(&found));
    }
}

#[test]
fn a_lazy_record_rides_the_next_group_or_the_idle_flush() {
    let _watchdog = Watchdog::new("lazy");
    let place = tempfile::tempdir().unwrap();
    let slow = options(Strategy::Auto).with_idle_ms(60_000);
    let wal = Wal::create(place.path(), &slow).unwrap();
    let lazy = wal.append(&record(1, 10), Durability::Lazy).unwrap();
    sleep_ms(100);
    assert!(!lazy.is_durable(), "a lazy record forced a write");
    wal.append(&record(2, 10), Durability::Sync).unwrap().wait().unwrap();
    assert!(lazy.is_durable());
    let lazy = wal.append(&record(3, 10), Durability::Lazy).unwrap();
    wal.close().unwrap();
    assert!(lazy.is_durable());

    let (wal, _) = Wal::open(place.path(), &options(Strategy::Auto)).unwrap();
    let groups = wal.stats().groups;
    let lazy = wal.append(&record(4, 10), Durability::Lazy).unwrap();
    assert_eq!(lazy.wait().unwrap(), lazy.lsn());
    // A mark ends the burst, and the idle log writes nothing more.
    eventually(|| wal.stats().groups == groups + 2);
    sleep_ms(50);
    assert_eq!(wal.stats().groups, groups + 2);
    let lazy = wal.append(&record(5, 10), Durability::Lazy).unwrap();
    futures_lite::future::block_on(lazy).unwrap();
}

#[test]
fn closing_while_others_wait_answers_them() {
    let _watchdog = Watchdog::new("close");
    for round in 0..10 {
        let place = tempfile::tempdir().unwrap();
        let wal = Arc::new(Wal::create(place.path(), &options(Strategy::Auto)).unwrap());
        let (answers, results) = mpsc::channel();
        let threads: Vec<_> = (0..6)
            .map(|thread| {
                let (wal, answers) = (Arc::clone(&wal), answers.clone());
                std::thread::spawn(move || {
                    let tickets: Vec<_> = (0..20)
                        .map(|n| wal.append(&record(thread * 20 + n, 2000), Durability::Sync).unwrap())
                        .collect();
                    drop(wal);
                    for ticket in tickets {
                        match thread % 3 {
                            0 => answers.send(ticket.wait()).unwrap(),
                            1 => answers.send(futures_lite::future::block_on(ticket)).unwrap(),
                            _ => {
                                let answers = answers.clone();
                                ticket.on_durable(move |result| answers.send(result).unwrap());
                            }
                        }
                    }
                })
            })
            .collect();
        drop(answers);
        eventually(|| Arc::strong_count(&wal) == 1);
        let wal = Arc::into_inner(wal).unwrap();
        // Closing the log makes everything durable. Dropping it fails the tickets of records that are not
        // durable.
        let closed = round % 2 == 0;
        if closed {
            wal.close().unwrap();
        } else {
            drop(wal);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let results: Vec<Result<Lsn, Error>> = results.into_iter().collect();
        assert_eq!(results.len(), 120);
        assert!(!closed || results.iter().all(Result::is_ok));
        assert!(results.iter().flat_map(|r| r.as_ref().err()).all(|e| matches!(e, Error::Closed)));
        let good = results.iter().filter(|r| r.is_ok()).count();
        let (wal, _) = Wal::open(place.path(), &options(Strategy::Auto)).unwrap();
        assert!(ids(&wal).len() >= good, "{good} acknowledged, {:?}", ids(&wal));
    }
}

#[test]
fn dropping_while_others_wait_hangs_nobody() {
    let _watchdog = Watchdog::new("drop");
    let slow = options(Strategy::Auto).with_idle_ms(60_000);
    for _ in 0..20 {
        let place = tempfile::tempdir().unwrap();
        let wal = Wal::create(place.path(), &slow).unwrap();
        let (answers, results) = mpsc::channel();
        let mut threads = Vec::new();
        for n in 0..9 {
            // The record is lazy and no thread blocks for it, so only the end of the log answers the ticket.
            let (ticket, answers) = (wal.append(&record(n, 100), Durability::Lazy).unwrap(), answers.clone());
            threads.push(std::thread::spawn(move || match n % 2 {
                0 => answers.send(futures_lite::future::block_on(ticket)).unwrap(),
                _ => ticket.on_durable(move |result| answers.send(result).unwrap()),
            }));
        }
        drop(answers);
        sleep_ms(5);
        drop(wal);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let results: Vec<_> = results.into_iter().collect();
        assert_eq!(results.len(), 9);
        assert!(results.iter().all(|result| matches!(result, Err(Error::Closed))), "{results:?}");
        Wal::open(place.path(), &slow).unwrap();
    }
}
