//! Tests that callbacks may use the log like any thread, and delay nothing but each other.
//!
//! Most tests run on real directories with both backends and strategies, some on a log that stopped.

mod delivery;

use crate::harness;

use futures_lite::future::block_on;
use harness::{Gate, Watchdog, ids, record, small, spawned, stepped};
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions};
use seawall_wal::disk::{Disk, PosixDisk};
use seawall_wal::{Backend, Durability, Error, Lsn, Options, Strategy, Ticket, Wal};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Calls `f` with a fresh directory and with options for each backend and strategy that this machine
/// supports.
fn everywhere(options: &Options, f: impl Fn(&Path, &Options)) {
    for (backend, strategy) in [
        (Backend::Posix, Strategy::Auto),
        (Backend::Posix, Strategy::Sync),
        (Backend::IoUring, Strategy::Auto),
        (Backend::IoUring, Strategy::Sync),
    ] {
        let place = tempfile::tempdir().unwrap();
        if backend == Backend::IoUring && PosixDisk::open(place.path(), None).unwrap().ring(1).is_err() {
            continue;
        }
        f(&place.path().join("log"), &options.clone().with_backend(backend).with_strategy(strategy));
    }
}

fn append(wal: &Wal, class: Durability) -> Ticket {
    wal.append(&record(7, 1000), class).unwrap()
}

type Act = fn(&Arc<Wal>);

/// Calls that a callback may make on a log that has not stopped.
const ACTS: [Act; 9] = [
    |wal| drop(append(wal, Durability::Sync)),
    |wal| _ = append(wal, Durability::Sync).wait().unwrap(),
    |wal| _ = append(wal, Durability::Lazy).wait().unwrap(),
    |wal| _ = block_on(append(wal, Durability::Sync)).unwrap(),
    |wal| _ = block_on(append(wal, Durability::Lazy)).unwrap(),
    |wal| _ = wal.flush().unwrap(),
    |wal| {
        let lsn = append(wal, Durability::Sync).lsn();
        assert!(wal.wait_past(lsn, Duration::MAX).unwrap() > lsn);
    },
    |wal| assert!(!ids(wal).is_empty()),
    // More bytes than a queue of 64 KiB takes, and no thread waits for the records.
    |wal| (0..10).for_each(|id| drop(wal.append(&record(id, 20_000), Durability::Sync).unwrap())),
];

fn every_act(options: &Options) {
    everywhere(options, |dir, options| {
        let wal = Arc::new(Wal::create(dir, options).unwrap());
        for act in ACTS {
            let (done, answered) = mpsc::channel();
            let inside = Arc::clone(&wal);
            append(&wal, Durability::Sync).on_durable(move |result| {
                act(&inside);
                drop(inside);
                done.send(result).unwrap();
            });
            // At the same time, this thread appends and waits.
            append(&wal, Durability::Sync).wait().unwrap();
            answered.recv().unwrap().unwrap();
        }
        while Arc::strong_count(&wal) > 1 {
            std::thread::yield_now();
        }
        Arc::into_inner(wal).unwrap().close().unwrap();
    });
}

#[test]
fn a_callback_may_do_anything_with_the_log() {
    let _watchdog = Watchdog::new("anything in a callback");
    every_act(&small());
}

#[test]
fn so_it_may_with_a_full_queue() {
    let _watchdog = Watchdog::new("anything in a callback, full queue");
    every_act(&small().with_queue_bytes(64 << 10));
}

#[test]
fn so_it_may_with_as_many_callbacks_as_are_allowed() {
    let _watchdog = Watchdog::new("anything in a callback, full of callbacks");
    every_act(&small().with_callbacks_max(1));
}

#[test]
fn a_callback_that_appends_finds_room_although_every_record_has_a_callback() {
    let _watchdog = Watchdog::new("bytes of answered records");
    everywhere(&small().with_queue_bytes(64 << 10), |dir, options| {
        let wal = Arc::new(Wal::create(dir, options).unwrap());
        let (done, answered) = mpsc::channel();
        for _ in 0..2 {
            let (inside, done) = (Arc::clone(&wal), done.clone());
            wal.append(&record(1, 30_000), Durability::Sync).unwrap().on_durable(move |_| {
                for id in 0..10 {
                    let done = done.clone();
                    let ticket = inside.append(&record(id, 30_000), Durability::Sync).unwrap();
                    ticket.on_durable(move |result| done.send(result).unwrap());
                }
            });
        }
        drop(done);
        assert_eq!(answered.into_iter().filter(Result::is_ok).count(), 20);
    });
}

/// Closing or dropping the log in a callback unlocks the directory before the call returns, and every ticket
/// is answered.
#[test]
fn a_callback_may_end_the_log() {
    let _watchdog = Watchdog::new("the end in a callback");
    for close in [true, false] {
        everywhere(&small(), |dir, options| {
            let wal = Wal::create(dir, options).unwrap();
            let (done, answered) = mpsc::channel();
            let (reopened, last) = mpsc::channel();
            let owner = Arc::new(Mutex::new(None));
            let (mine, path, mut again) = (Arc::clone(&owner), dir.to_path_buf(), options.clone());
            again.idle_ms = 60_000;
            let (go, started) = mpsc::channel::<()>();
            append(&wal, Durability::Sync).on_durable(move |result| {
                started.recv().unwrap();
                let wal: Wal = mine.lock().unwrap().take().unwrap();
                if close {
                    wal.close().unwrap();
                } else {
                    drop(wal);
                }
                reopened.send(Wal::open(&path, &again).map(|(wal, _)| ids(&wal).len())).unwrap();
                result.unwrap();
            });
            let later: Vec<_> = (0..3).map(|_| append(&wal, Durability::Lazy)).collect();
            for ticket in later {
                let done = done.clone();
                ticket.on_durable(move |result| done.send(result).unwrap());
            }
            drop(done);
            *owner.lock().unwrap() = Some(wal);
            go.send(()).unwrap();
            let found = last.recv().unwrap().expect("the directory is free");
            let answers: Vec<Result<Lsn, Error>> = answered.into_iter().collect();
            let good = answers.iter().filter(|answer| answer.is_ok()).count();
            assert_eq!(answers.len(), 3, "each ticket gets one answer");
            assert!(found > good && (!close || good == 3), "{found} found, {answers:?}");
        });
    }
}

#[test]
fn a_callback_that_never_returns_delays_only_callbacks() {
    let _watchdog = Watchdog::new("a callback that never returns");
    everywhere(&small().with_queue_bytes(256 << 10), |dir, options| {
        let wal = Wal::create(dir, options).unwrap();
        let (gate, (done, answered)) = (Arc::new(Gate::default()), mpsc::channel());
        let hold = Arc::clone(&gate);
        append(&wal, Durability::Sync).on_durable(move |_| hold.pass());
        gate.wait_for_one();
        append(&wal, Durability::Lazy).on_durable(move |result| done.send(result).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| (0..5).for_each(|_| _ = append(&wal, Durability::Sync).wait().unwrap()));
            }
        });
        // The callback does not delay the end of the log either.
        wal.close().unwrap();
        let (wal, _) = Wal::open(dir, options).unwrap();
        assert_eq!(ids(&wal).len(), 64 * 5 + 2);
        assert!(answered.try_recv().is_err(), "two callbacks ran at the same time");
        gate.open();
        answered.recv().unwrap().unwrap();
    });
}

#[test]
fn at_the_bound_appends_wait_and_callbacks_get_an_error_at_twice_the_bound() {
    let _watchdog = Watchdog::new("the bound");
    everywhere(&small().with_callbacks_max(4), |dir, options| {
        let wal = Arc::new(Wal::create(dir, options).unwrap());
        let (gate, (done, answered)) = (Arc::new(Gate::default()), mpsc::channel());
        let (hold, inside, refused) = (Arc::clone(&gate), Arc::clone(&wal), done.clone());
        append(&wal, Durability::Sync).on_durable(move |_| {
            hold.pass();
            let refusal = loop {
                let refused = refused.clone();
                match inside.append(&record(2, 10), Durability::Lazy) {
                    Ok(ticket) => ticket.on_durable(move |result| refused.send(result).unwrap()),
                    Err(error) => break error,
                }
            };
            refused.send(Err(refusal)).unwrap();
            assert!(matches!(
                inside.try_append(&record(2, 10), Durability::Sync),
                Err(Error::CallbacksFull { .. })
            ));
        });
        gate.wait_for_one();
        for _ in 0..3 {
            let done = done.clone();
            append(&wal, Durability::Lazy).on_durable(move |result| done.send(result).unwrap());
        }
        drop(done);
        assert_eq!(wal.stats().callbacks, 4);
        assert!(matches!(wal.try_append(&record(3, 10), Durability::Sync), Err(Error::WouldWait)));
        let waiting = {
            let wal = Arc::clone(&wal);
            std::thread::spawn(move || append(&wal, Durability::Sync).wait())
        };
        let full = wal.callbacks_full().unwrap().expect("four are outstanding");
        gate.open();
        full.wait();
        waiting.join().unwrap().unwrap();
        let answers: Vec<_> = answered.into_iter().collect();
        let refusals: Vec<_> = answers.iter().flat_map(|answer| answer.as_ref().err()).collect();
        assert!(matches!(refusals[..], [Error::CallbacksFull { count: 8, max: 4 }]), "{refusals:?}");
        // The answers are those of three lazy records from before and four from inside, and the refusal.
        assert_eq!(answers.len(), 8);
    });
}

/// On a log that has stopped, every call of a callback returns an error.
#[test]
fn on_a_log_that_stopped_a_callback_gets_errors() {
    let _watchdog = Watchdog::new("latched");
    for callbacks_max in [1, 65_536] {
        let disk = SimDisk::new(1, SimOptions::default());
        let options = small().with_callbacks_max(callbacks_max).with_idle_ms(60_000);
        let wal = Wal::create_in(spawned(&disk), &options).unwrap();
        let (waited, awaited) = (append(&wal, Durability::Lazy), append(&wal, Durability::Lazy));
        let owner = Arc::new(Mutex::new(None));
        let (done, answered) = mpsc::channel();
        let mine = Arc::clone(&owner);
        disk.fail(FaultRule::once(FaultOp::Write, 1, FaultError::Io).on("00000001.wal"));
        let ticket = append(&wal, Durability::Sync);
        *owner.lock().unwrap() = Some(wal);
        ticket.on_durable(move |result| {
            let wal: Wal = mine.lock().unwrap().take().unwrap();
            done.send(result).unwrap();
            done.send(wal.append(&record(1, 10), Durability::Sync).map(|ticket| ticket.lsn())).unwrap();
            done.send(waited.wait()).unwrap();
            done.send(wal.wait_past(waited.lsn(), Duration::MAX)).unwrap();
            done.send(waited.outcome().unwrap()).unwrap();
            done.send(block_on(awaited)).unwrap();
            done.send(wal.flush()).unwrap();
            done.send(wal.close().map(|()| Lsn::ZERO)).unwrap();
            waited.on_durable(move |result| done.send(result).unwrap());
        });
        let answers: Vec<_> = answered.into_iter().collect();
        assert_eq!(answers.len(), 9);
        assert!(answers.iter().all(|a| matches!(a, Err(Error::Latched { .. }))), "{answers:?}");
        Wal::open_in(stepped(&disk), &small()).unwrap();
    }
}
