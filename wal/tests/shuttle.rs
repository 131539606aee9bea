//! Tests that, under chosen interleavings, every ticket is answered exactly once, callbacks run in log order,
//! no record is acknowledged before it is durable, and no thread sleeps for ever.
//!
//! The tests run the log itself, over locks and futexes whose interleavings `shuttle` chooses. Each model
//! runs under a random scheduler and under one that changes priorities at few points (PCT), from a fixed
//! seed, so a run is the same every time. `docs/testing.md` has the command.

#![cfg(seawall_shuttle)]

#[path = "shuttle/model.rs"]
mod model;
#[path = "shuttle/watched.rs"]
mod watched;

use model::{Model, chance, explore, options, threads};
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule};
use seawall_wal::{
    Durability, Error, Lsn, RecordBuilder, Threads,
    notify::{Bell, Notify},
};
use shuttle::rand::Rng;
use shuttle::sync::mpsc;
use shuttle::thread;
use std::sync::Arc;
use watched::Answer;

/// Payload of a record that fills most of a block, in bytes. Two such records need two groups of the smallest
/// size.
const LARGE: usize = 3000;

#[test]
fn blocking_threads_hand_over() {
    explore(2000, || {
        let model = Model::new(Threads::Stepped);
        threads(&model, 3, |model, i| {
            for n in 0..2 {
                let ticket = model.append(if (i + n) % 2 == 0 { LARGE } else { 100 }, Durability::Sync);
                model.wait(&ticket.expect("the log has not stopped"));
            }
        });
        model.finish(6);
    });
}

#[test]
fn more_groups_in_flight_than_threads() {
    explore(2000, || {
        let model = Model::new(Threads::Stepped);
        threads(&model, 2, |model, _| {
            let tickets =
                [0; 3].map(|_| model.append(LARGE, Durability::Sync).expect("the log has not stopped"));
            // The last ticket comes first: waiting for it must not rely on other threads that wait for the
            // others.
            tickets.iter().rev().for_each(|ticket| model.wait(ticket));
        });
        model.finish(6);
    });
}

/// A thread, a callback and a future wait. The flusher serves the callback and the future, and may be asleep.
fn mixed(model: &Arc<Model>, i: usize) {
    let (done, dones) = mpsc::channel();
    for _ in 0..2 {
        let Some(ticket) = model.append(LARGE, Durability::Sync) else {
            model.refused();
            break;
        };
        match i {
            0 => model.wait(&ticket),
            1 => model.call(ticket, done.clone()),
            2 => model.block_on(ticket),
            _ => model.write_or_sleep(&ticket),
        }
    }
    drop(done);
    // The loop ends when every callback has run or was dropped.
    while dones.recv().is_ok() {}
}

#[test]
fn thread_callback_and_future() {
    explore(1500, || {
        let model = Model::new(Threads::Spawned);
        threads(&model, 3, mixed);
        model.finish(6);
    });
}

/// Threads that write only if nobody else does, and otherwise register a wake-up, next to one that waits, or to a callback
/// or a future. A write may fail.
#[test]
fn threads_write_or_are_woken() {
    explore(1500, || {
        let model = Model::new(Threads::Spawned);
        if chance() {
            let nth = shuttle::rand::thread_rng().gen_range(1..4);
            model.disk.fail(FaultRule::once(FaultOp::Write, nth, FaultError::Io).on("00000001.wal"));
        }
        threads(&model, 3, |model, i| {
            mixed(model, if i == 0 { shuttle::rand::thread_rng().gen_range(0..4) } else { 3 });
        });
        let tickets = model.tickets();
        model.finish(tickets);
    });
}

#[test]
fn a_write_fails_in_the_middle() {
    explore(1500, || {
        let model = Model::new(Threads::Spawned);
        let nth = shuttle::rand::thread_rng().gen_range(1..4);
        let op = if chance() { FaultOp::Write } else { FaultOp::Sync };
        model.disk.fail(FaultRule::once(op, nth, FaultError::Io).on("00000001.wal"));
        threads(&model, 3, mixed);
        let tickets = model.tickets();
        model.finish(tickets);
    });
}

#[test]
fn callbacks_stay_in_order_across_threads() {
    explore(1500, || {
        let model = Model::new(Threads::Spawned);
        threads(&model, 3, |model, i| {
            let (done, dones) = mpsc::channel();
            for _ in 0..2 {
                // The callbacks are registered in log order, as by a user who needs that order.
                let order = model.order.lock().expect("no panic");
                let ticket =
                    model.append(100 + LARGE * (i % 2), Durability::Sync).expect("the log has not stopped");
                model.call(ticket, done.clone());
                drop(order);
            }
            drop(done);
            while dones.recv().is_ok() {}
        });
        model.finish(6);
    });
}

#[test]
fn a_flush_covers_lazy_records() {
    explore(2000, || {
        let model = Model::new(if chance() { Threads::Spawned } else { Threads::Stepped });
        threads(&model, 3, |model, i| {
            let ticket = model.append(if i == 0 { LARGE } else { 100 }, Durability::Lazy);
            let ticket = ticket.expect("the log has not stopped");
            if i < 2 {
                let end = model.wal.flush().expect("the log has not stopped");
                assert!(end > ticket.lsn() && ticket.is_durable());
                model.wait(&ticket);
            } else {
                model.wal.flush().expect("the log has not stopped");
                model.block_on(ticket);
            }
        });
        model.finish(3);
    });
}

#[test]
fn a_full_queue_makes_room() {
    explore(2000, || {
        let model = Model::with(Threads::Stepped, &options().with_segment_bytes(1 << 20));
        threads(&model, 3, |model, i| {
            // Two records are more than the queue takes, and no thread waits for a ticket meanwhile.
            let class = if i == 0 { Durability::Lazy } else { Durability::Sync };
            let tickets = [0; 2].map(|_| model.append(40 << 10, class).expect("the log has not stopped"));
            model.wal.flush().expect("the log has not stopped");
            tickets.iter().for_each(|ticket| model.wait(ticket));
        });
        model.finish(6);
    });
}

#[test]
fn segments_change_under_way() {
    explore(700, || {
        let threads_of_log = if chance() { Threads::Spawned } else { Threads::Stepped };
        let model = Model::with(threads_of_log, &options().with_segment_bytes(24 << 10));
        threads(&model, 3, |model, _| {
            for _ in 0..4 {
                model.wait(&model.append(LARGE, Durability::Sync).expect("the log has not stopped"));
            }
        });
        model.finish(12);
    });
}

/// Tickets outlive the log: a close races with the threads that wait for them.
#[test]
fn close_answers_who_still_waits() {
    explore(1500, || {
        let model = Model::new(if chance() { Threads::Spawned } else { Threads::Stepped });
        let append =
            || model.append(LARGE, if chance() { Durability::Sync } else { Durability::Lazy }).expect("open");
        let (waited, awaited, called) = (append(), append(), append());
        let wal = Arc::into_inner(model).expect("no other owner").wal;
        let (done, dones) = mpsc::channel();
        // Dropping the log, unlike closing it, flushes nothing.
        let closed = chance();
        let waiting = thread::spawn(move || waited.wait());
        let awaiting = thread::spawn(move || shuttle::future::block_on(awaited));
        let calling = thread::spawn(move || {
            called.on_durable(move |result| done.send(result).expect("a listener"));
            dones.recv().expect("one answer").and_then(|lsn| match dones.recv() {
                Ok(second) => panic!("a second answer: {second:?}"),
                Err(_) => Ok(lsn),
            })
        });
        if closed {
            wal.close().expect("a sound disk");
        } else {
            drop(wal);
        }
        for answer in [waiting, awaiting, calling].map(|t| t.join().expect("no panic")) {
            match answer {
                Ok(_) => {}
                Err(Error::Closed) if !closed => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

/// The last owner of the log may be a callback, which then ends the log on the delivery thread.
#[test]
fn a_callback_drops_the_log() {
    explore(1500, || {
        let model = Model::new(Threads::Spawned);
        let ticket = model.append(100, Durability::Sync).expect("open");
        let (done, dones) = mpsc::channel();
        model.call(ticket, done);
        drop(model);
        assert_eq!(dones.recv(), Ok(()));
        assert!(dones.recv().is_err(), "one answer");
    });
}

/// At the bound of callbacks, appends wait until some have run. An append that a callback makes does not
/// wait.
#[test]
fn appends_wait_for_room_among_callbacks() {
    explore(1500, || {
        // At most three callbacks are outstanding, so no append in a callback is refused.
        let model = Model::with(Threads::Spawned, &options().with_callbacks_max(2));
        threads(&model, 3, |model, i| {
            let (done, dones) = mpsc::channel();
            for _ in 0..2 {
                // If the clock stands still, a lazy record is written only if a thread blocks for it.
                let class = if i > 0 || chance() { Durability::Sync } else { Durability::Lazy };
                let ticket = model.append(100, class).expect("the log has not stopped");
                match i {
                    0 => model.wait(&ticket),
                    1 => model.call(ticket, done.clone()),
                    _ => model.block_on(ticket),
                }
            }
            if i == 2 {
                let inside = Arc::clone(model);
                let ticket = model.append(100, Durability::Sync).expect("the log has not stopped");
                model.told.lock().push(Answer { lsn: ticket.lsn(), result: Ok(ticket.lsn()) });
                ticket.on_durable(move |result| {
                    result.expect("the log has not stopped");
                    let ticket = inside.append(100, Durability::Lazy).expect("a callback does not wait");
                    inside.block_on(ticket);
                    drop(inside);
                    let _ = done.send(());
                });
            } else {
                drop(done);
            }
            while dones.recv().is_ok() {}
        });
        model.finish(8);
    });
}

/// Callbacks, wakers and notices are registered while the write completes, and while the log is closed or
/// dropped.
#[test]
fn registering_races_with_completion_and_with_the_end() {
    explore(2000, || {
        let threads = if chance() { Threads::Spawned } else { Threads::Stepped };
        let callbacks_max = if chance() { 1 } else { 8 };
        let model = Model::with(threads, &options().with_callbacks_max(callbacks_max));
        let append =
            || model.append(100, if chance() { Durability::Sync } else { Durability::Lazy }).expect("open");
        let (waited, called, polled, told) = (append(), append(), append(), append());
        let wal = Arc::into_inner(model).expect("no other owner").wal;
        let (done, dones) = mpsc::channel();
        let waiting = thread::spawn(move || drop(waited.wait()));
        let calling = thread::spawn(move || called.on_durable(move |_| done.send(()).expect("a listener")));
        let polling = thread::spawn(move || {
            let (mut polled, waker) = (Box::pin(polled), std::task::Waker::noop());
            let mut context = std::task::Context::from_waker(waker);
            let _ = std::future::Future::poll(polled.as_mut(), &mut context);
            let _ = std::future::Future::poll(polled.as_mut(), &mut context);
        });
        let noticing = thread::spawn(move || {
            let bell = Arc::new(Bell::new());
            let rung = bell.rung();
            told.notify(Notify::Bell(Arc::clone(&bell)));
            bell.wait(rung, None);
            assert!(bell.rung() == rung + 1 && told.outcome().is_some());
        });
        if chance() {
            wal.close().expect("a sound disk");
        } else {
            drop(wal);
        }
        assert_eq!(dones.recv(), Ok(()));
        assert!(dones.recv().is_err(), "one answer");
        [waiting, calling, polling, noticing].into_iter().for_each(|t| t.join().expect("no panic"));
    });
}

/// Readers read records before and after they become durable, while groups use buffers again.
#[test]
fn readers_see_whole_records_while_buffers_are_used_again() {
    explore(1500, || {
        let model = Model::new(Threads::Stepped);
        let (sender, receiver) = mpsc::channel::<(Lsn, u8)>();
        let append = |from: u8, sender: mpsc::Sender<(Lsn, u8)>| {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                for byte in from..from + 3 {
                    let mut batch = RecordBuilder::new();
                    batch.push_part(&[byte; LARGE]);
                    let ticket = model.wal.append(&batch, Durability::Sync).expect("the log has not stopped");
                    sender.send((ticket.lsn(), byte)).expect("a reader");
                    ticket.wait().expect("the log has not stopped");
                }
            })
        };
        let writers = [append(10, sender.clone()), append(20, sender)];
        let reader = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let mut batch = RecordBuilder::new();
                batch.push_part(&[0; LARGE]);
                let part = batch.first_part_offset();
                for (lsn, byte) in receiver {
                    let mut out = vec![0; LARGE];
                    let at = Lsn::new(lsn.segment(), lsn.offset() + part);
                    model.wal.read_at(at, &mut out).expect("it was appended");
                    assert!(out.iter().all(|&b| b == byte), "{lsn}: not the record's bytes");
                }
            })
        };
        writers.into_iter().for_each(|w| w.join().expect("no panic"));
        reader.join().expect("no panic");
        model.finish(0);
    });
}
