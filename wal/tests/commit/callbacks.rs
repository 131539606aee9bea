//! Tests that callbacks and futures may use the log like any thread, and delay nothing but each other.
//!
//! Most tests run on real directories with both backends and strategies, some on a log that stopped.

use crate::harness;

use futures_lite::future::block_on;
use harness::{Gate, Watchdog, ids, record, small, spawned, stepped};
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions};
use seawall_wal::disk::{Disk, PosixDisk};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{
    Backend, Durability, Error, Lsn, Options, Strategy, Ticket, Wal,
    notify::{Bell, Notify},
};
use std::collections::VecDeque;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::panic::panic_any;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const DELIVERS: &str = "seawall-deliver";

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
            assert_eq!(answers.len(), 3, "one answer each");
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
        assert!(answered.try_recv().is_err(), "two callbacks at a time");
        gate.open();
        answered.recv().unwrap().unwrap();
    });
}

#[test]
fn callbacks_and_wakers_run_on_a_thread_that_does_nothing_else() {
    struct Note(mpsc::Sender<String>);
    impl Wake for Note {
        fn wake(self: Arc<Note>) {
            self.0.send(thread_name()).unwrap();
        }
    }
    fn thread_name() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }
    let _watchdog = Watchdog::new("whose thread");
    everywhere(&small(), |dir, options| {
        let wal = Wal::create(dir, options).unwrap();
        let (names, seen) = mpsc::channel();
        for _ in 0..100 {
            let (name, waker) = (names.clone(), Waker::from(Arc::new(Note(names.clone()))));
            append(&wal, Durability::Sync).on_durable(move |_| name.send(thread_name()).unwrap());
            let mut ticket = Box::pin(append(&wal, Durability::Sync));
            let polled = ticket.as_mut().poll(&mut Context::from_waker(&waker));
            // This thread writes, and does not run the callbacks and wakers that are due.
            append(&wal, Durability::Sync).wait().unwrap();
            drop(waker);
            let calls = if polled.is_pending() { 2 } else { 1 };
            assert!((0..calls).all(|_| seen.recv().unwrap() == DELIVERS));
        }
    });
}

#[test]
fn callbacks_of_many_threads_run_in_log_order() {
    let _watchdog = Watchdog::new("order");
    everywhere(&small(), |dir, options| {
        let wal = Wal::create(dir, options).unwrap();
        let (order, called) = (Mutex::new(()), Arc::new(Mutex::new(Vec::new())));
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let called = Arc::clone(&called);
                        let _order = order.lock().unwrap();
                        let ticket = wal.append(&record(1, 100), Durability::Sync).unwrap();
                        ticket.on_durable(move |result| called.lock().unwrap().push(result.unwrap()));
                    }
                });
            }
        });
        wal.flush().unwrap();
        // This callback runs after all others.
        let (done, last) = mpsc::channel();
        append(&wal, Durability::Sync).on_durable(move |_| done.send(()).unwrap());
        last.recv().unwrap();
        let called = called.lock().unwrap();
        assert!(called.len() == 32 * 50 && called.is_sorted(), "{} calls", called.len());
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

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a payload's own bug");
    }
}

#[test]
fn a_panic_whose_payload_panics_does_not_end_delivery() {
    let _watchdog = Watchdog::new("payload");
    let stepped_disk = SimDisk::new(1, SimOptions::default());
    let spawned_disk = SimDisk::new(1, SimOptions::default());
    for wal in [
        Wal::create_in(stepped(&stepped_disk), &small()).unwrap(),
        Wal::create_in(spawned(&spawned_disk), &small()).unwrap(),
    ] {
        let (done, answered) = mpsc::channel();
        for n in 0..4 {
            let done = done.clone();
            append(&wal, Durability::Sync).on_durable(move |_| {
                done.send(n).unwrap();
                panic_any(Bomb);
            });
        }
        drop(done);
        wal.flush().unwrap();
        assert_eq!(answered.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}

/// An executor that polls inside of `wake` runs a chain of appends. Each one is made when the one before is
/// durable.
#[test]
fn a_task_may_be_polled_inside_of_its_waker() {
    struct Chain {
        wal: Wal,
        at: Mutex<Option<(Pin<Box<Ticket>>, u32)>>,
        done: mpsc::Sender<u32>,
    }
    impl Wake for Chain {
        fn wake(self: Arc<Chain>) {
            let waker = Waker::from(Arc::clone(&self));
            let mut at = self.at.lock().unwrap();
            let (mut ticket, mut n) = at.take().unwrap();
            while let Poll::Ready(result) = ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
                result.unwrap();
                n += 1;
                if n == 20 {
                    return self.done.send(n).unwrap();
                }
                ticket = Box::pin(append(&self.wal, Durability::Lazy));
            }
            *at = Some((ticket, n));
        }
    }
    let _watchdog = Watchdog::new("polled in a waker");
    everywhere(&small(), |dir, options| {
        let wal = Wal::create(dir, options).unwrap();
        let (done, answered) = mpsc::channel();
        let ticket = Box::pin(append(&wal, Durability::Sync));
        let chain = Arc::new(Chain { wal, at: Mutex::new(Some((ticket, 0))), done });
        chain.wake();
        assert_eq!(answered.recv(), Ok(20));
    });
}

#[test]
fn a_stepped_log_calls_where_a_write_completes_one_call_after_the_other() {
    let _watchdog = Watchdog::new("stepped");
    let disk = SimDisk::new(1, SimOptions::default());
    let wal = Arc::new(Wal::create_in(stepped(&disk), &small().with_callbacks_max(2)).unwrap());
    let called = Arc::new(Mutex::new(Vec::new()));
    let (inside, order) = (Arc::clone(&wal), Arc::clone(&called));
    let first = append(&wal, Durability::Sync);
    first.on_durable(move |_| {
        order.lock().unwrap().push(1);
        let (ticket, next) = (append(&inside, Durability::Sync), Arc::clone(&order));
        let again = append(&inside, Durability::Lazy);
        ticket.on_durable(move |_| next.lock().unwrap().push(3));
        again.wait().unwrap();
        block_on(append(&inside, Durability::Sync)).unwrap();
        order.lock().unwrap().push(2);
    });
    // Two callbacks are allowed, so the third append runs the outstanding ones first.
    let order = Arc::clone(&called);
    append(&wal, Durability::Sync).on_durable(move |_| order.lock().unwrap().push(4));
    append(&wal, Durability::Sync).wait().unwrap();
    assert_eq!(*called.lock().unwrap(), [1, 2, 4, 3]);
}

#[test]
fn notices_are_delivered_by_whoever_completes_the_write() {
    let _watchdog = Watchdog::new("notices");
    everywhere(&small(), |dir, options| {
        let wal = Wal::create(dir, options).unwrap();
        // The delivery thread is blocked, and the notices do not need it.
        let (gate, bell) = (Arc::new(Gate::default()), Arc::new(Bell::new()));
        let hold = Arc::clone(&gate);
        append(&wal, Durability::Sync).on_durable(move |_| hold.pass());
        gate.wait_for_one();
        let flags = rustix::event::EventfdFlags::empty();
        let fd: Arc<OwnedFd> = Arc::new(rustix::event::eventfd(0, flags).unwrap());
        for _ in 0..20 {
            let (rung, ticket) = (bell.rung(), append(&wal, Durability::Sync));
            ticket.notify(Notify::Bell(Arc::clone(&bell)));
            while bell.rung() == rung {
                bell.wait(rung, None);
            }
            assert_eq!(ticket.outcome().unwrap().unwrap(), ticket.lsn());

            let ticket = append(&wal, Durability::Sync);
            ticket.notify(Notify::Thread(std::thread::current()));
            while ticket.outcome().is_none() {
                std::thread::park();
            }

            let ticket = append(&wal, Durability::Sync);
            ticket.notify(Notify::EventFd(Arc::clone(&fd)));
            let mut count = [0; 8];
            rustix::io::read(&fd, &mut count).unwrap();
            assert_eq!((u64::from_ne_bytes(count), ticket.is_durable()), (1, true));
            // The notice is delivered at once if the record is durable.
            ticket.notify(Notify::EventFd(Arc::clone(&fd)));
            rustix::io::read(&fd, &mut count).unwrap();
        }
        let (rung, lazy) = (bell.rung(), append(&wal, Durability::Lazy));
        lazy.notify(Notify::Bell(Arc::clone(&bell)));
        drop(wal);
        assert_ne!(bell.rung(), rung, "the end of the log is told too");
        assert!(lazy.outcome().is_some());
        gate.open();
    });
}

#[test]
fn a_thread_takes_its_completions_itself() {
    let _watchdog = Watchdog::new("wait_past");
    everywhere(&small(), |dir, options| {
        let wal = Wal::create(dir, options).unwrap();
        let (mut in_flight, mut left, mut taken) = (VecDeque::new(), 500, Vec::new());
        while left > 0 || !in_flight.is_empty() {
            while left > 0 && in_flight.len() < 32 {
                let class = if left % 3 == 0 { Durability::Lazy } else { Durability::Sync };
                in_flight.push_back(append(&wal, class).lsn());
                left -= 1;
            }
            let end = wal.wait_past(in_flight[0], Duration::MAX).unwrap();
            assert!(end > in_flight[0] && end <= wal.durable());
            while in_flight.front().is_some_and(|lsn| *lsn < end) {
                taken.extend(in_flight.pop_front());
            }
        }
        assert!(taken.len() == 500 && taken.is_sorted());
        let (end, lazy) = (wal.durable(), append(&wal, Durability::Lazy));
        assert!(wal.wait_past(taken[0], Duration::ZERO).unwrap() >= end);
        let nowhere = Lsn::new(lazy.lsn().segment(), lazy.lsn().offset() + (1 << 20));
        assert!(
            matches!(wal.wait_past(nowhere, Duration::MAX), Err(Error::NotInLog { lsn }) if lsn == nowhere)
        );
        assert!(wal.wait_past(lazy.lsn(), Duration::from_secs(3600)).unwrap() > lazy.lsn());
    });
}

#[test]
fn a_wait_with_a_timeout_ends() {
    let _watchdog = Watchdog::new("timeout");
    let (disk, gate) = (SimDisk::new(1, SimOptions::default()), Arc::new(Gate::default()));
    let hook = Arc::clone(&gate);
    let hooked = seawall_wal::disk::sim::HookDisk::new(disk.process(), move |call| {
        let writer = std::thread::current().name() == Some("writes");
        if writer && call.op == seawall_wal::disk::sim::CallOp::Write {
            hook.pass();
        }
        Ok(())
    });
    let wal =
        Arc::new(Wal::create_in(harness::env(hooked, seawall_wal::Threads::Stepped), &small()).unwrap());
    let writes = Arc::clone(&wal);
    let writer = std::thread::Builder::new().name("writes".into());
    let writer = writer.spawn(move || append(&writes, Durability::Sync).wait().unwrap()).unwrap();
    gate.wait_for_one();
    // The disk is busy with the write of another thread, which does not end before the gate is opened.
    let lsn = append(&wal, Durability::Sync).lsn();
    assert!(wal.wait_past(lsn, Duration::from_millis(1)).unwrap() <= lsn);
    gate.open();
    assert!(wal.wait_past(lsn, Duration::MAX).unwrap() > lsn);
    writer.join().unwrap();
}

#[test]
fn a_lazy_record_is_written_in_time_although_others_keep_coming() {
    let disk = SimDisk::new(1, SimOptions::default());
    let wal = Wal::create_in(stepped(&disk), &small()).unwrap();
    let (mut stepper, called) = (Stepper::new(&wal), Arc::new(Mutex::new(0)));
    let first = append(&wal, Durability::Lazy);
    let count = Arc::clone(&called);
    append(&wal, Durability::Lazy).on_durable(move |_| *count.lock().unwrap() += 1);
    // Each step simulates that `idle_ms` have passed, and one more record arrives before it.
    for _ in 0..3 {
        drop(append(&wal, Durability::Lazy));
        stepper.idle();
    }
    assert!(first.is_durable(), "every record put the first off");
    assert_eq!(*called.lock().unwrap(), 1);
}
