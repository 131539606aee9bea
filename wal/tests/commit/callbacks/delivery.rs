//! Tests how callbacks, wakers, notices and waiting threads learn that a record is durable: on which thread,
//! in which order, and in time.

use super::{append, everywhere};
use crate::harness;

use futures_lite::future::block_on;
use harness::{Gate, Watchdog, record, small, spawned, stepped};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{
    Durability, Error, Lsn, Ticket, Wal,
    notify::{Bell, Notify},
};
use std::collections::VecDeque;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const DELIVERS: &str = "seawall-deliver";

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
    let _watchdog = Watchdog::new("the thread of callbacks");
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

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bug in a payload");
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
        assert_ne!(bell.rung(), rung, "the end of the log rings the bell, too");
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
    assert!(first.is_durable(), "the later records delayed the first");
    assert_eq!(*called.lock().unwrap(), 1);
}
