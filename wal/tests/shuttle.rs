//! Tests that, under chosen interleavings, every ticket is answered exactly once, callbacks run in log order,
//! no record is acknowledged before it is durable, and no thread sleeps for ever.
//!
//! The tests run the log itself, over locks and futexes whose interleavings `shuttle` chooses. Each model
//! runs under a random scheduler and under one that changes priorities at few points (PCT), from a fixed
//! seed, so a run is the same every time. `docs/testing.md` has the command.

#![cfg(seawall_shuttle)]

#[path = "shuttle/watched.rs"]
mod watched;

use parking_lot::Mutex as Plain;
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Clock, Mode};
use seawall_wal::{
    Durability, Env, Error, Lsn, Options, RecordBuilder, Threads, Ticket, Wal,
    notify::{Bell, Notify},
};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::mpsc;
use shuttle::{Config, MaxSteps, Runner, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use watched::{Answer, Watched, switch};

/// Payload of a record that fills most of a block, in bytes. Two such records need two groups of the smallest
/// size.
const LARGE: usize = 3000;

/// Runs `model` under both schedulers, `runs` or `SEAWALL_RUNS` times each.
fn explore(runs: usize, model: fn()) {
    let runs = std::env::var("SEAWALL_RUNS").ok().and_then(|r| r.parse().ok()).unwrap_or(runs);
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    // Shuttle warns that it does not model orderings weaker than SeqCst.
    config.silence_warnings = true;
    // A log whose threads run without ever getting anywhere is stuck, too.
    config.max_steps = MaxSteps::FailAfter(100_000);
    Runner::new(RandomScheduler::new_from_seed(1, runs), config.clone()).run(model);
    Runner::new(PctScheduler::new_from_seed(2, 4, runs), config).run(model);
}

/// A clock that advances each time it is read. With steps of a millisecond, each pause is long enough for the
/// log to be idle and each write is slow. With steps of a microsecond, writes are fast and a waiting thread
/// yields before it sleeps.
#[derive(Debug)]
struct Ticking {
    now_ns: AtomicU64,
    step_ns: u64,
}

impl Clock for Ticking {
    fn wall_ms(&self) -> u64 {
        1
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.fetch_add(self.step_ns, Ordering::Relaxed)
    }
}

/// A clock that stands still: the log is never idle, and no write is slow.
#[derive(Debug)]
struct Frozen;

impl Clock for Frozen {
    fn wall_ms(&self) -> u64 {
        1
    }

    fn now_ns(&self) -> u64 {
        1
    }
}

/// A log, and the answers that its users got.
struct Model {
    disk: Arc<SimDisk>,
    watched: Arc<Watched>,
    wal: Wal,
    /// Answers to callbacks, in the order in which they ran.
    called: Plain<Vec<Answer>>,
    /// Answers to threads and futures.
    told: Plain<Vec<Answer>>,
    /// Positions and lengths of the records that were appended.
    appended: Plain<Vec<(Lsn, usize)>>,
    /// Held from an append until its callback is registered.
    order: shuttle::sync::Mutex<()>,
}

/// A random choice of `shuttle`.
fn chance() -> bool {
    shuttle::rand::thread_rng().gen_bool(0.5)
}

fn options() -> Options {
    let (segment_bytes, queue_bytes) = (64 << 10, 64 << 10);
    Options::default()
        .with_segment_bytes(segment_bytes)
        .with_queue_bytes(queue_bytes)
        .with_group_bytes(4096)
        .with_idle_ms(1)
}

impl Model {
    fn new(threads: Threads) -> Arc<Model> {
        let in_flight = if chance() { 1 } else { 4 };
        Model::with(threads, &options().with_writes_in_flight_max(in_flight))
    }

    /// `shuttle` chooses the disk's mode and the clock.
    fn with(threads: Threads, options: &Options) -> Arc<Model> {
        let mode = if chance() { Mode::Direct } else { Mode::Buffered };
        let disk = SimDisk::new(1, SimOptions { mode, ..SimOptions::default() });
        let watched = Arc::new(Watched::new(Arc::clone(&disk)));
        let ticking = |step_ns| Arc::new(Ticking { now_ns: AtomicU64::new(0), step_ns });
        let clock: Arc<dyn Clock> = match (chance(), chance()) {
            (true, true) => ticking(1_000_000),
            (true, false) => ticking(1000),
            (false, _) => Arc::new(Frozen),
        };
        let random = Arc::new(SimRandom::new(1));
        let env = Env { disk: Arc::clone(&watched) as Arc<_>, clock, random, threads };
        let wal = Wal::create_in(env, options).expect("a log");
        let (called, told, appended, order) = Default::default();
        Arc::new(Model { disk, watched, wal, called, told, appended, order })
    }

    /// Appends a record of `bytes`. Returns `None` once the log has stopped.
    fn append(&self, bytes: usize, class: Durability) -> Option<Ticket> {
        let mut batch = RecordBuilder::new();
        batch.push_part(&vec![7; bytes]);
        match self.wal.append(&batch, class) {
            Ok(ticket) => {
                self.appended.lock().push((ticket.lsn(), batch.encoded_len()));
                Some(ticket)
            }
            Err(Error::Latched { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Asserts that an acknowledged record is durable at this moment.
    fn judge(&self, answer: &Answer) {
        if let Ok(lsn) = answer.result {
            assert_eq!(lsn, answer.lsn);
            let appended = self.appended.lock().clone();
            // One byte if the model does not know the length of the record.
            let bytes = appended.iter().find(|(at, _)| *at == lsn).map_or(1, |(_, bytes)| *bytes);
            self.watched.assert_durable(lsn, bytes);
        }
    }

    fn wait(&self, ticket: &Ticket) {
        let answer = Answer { lsn: ticket.lsn(), result: ticket.wait() };
        self.judge(&answer);
        self.told.lock().push(answer);
    }

    fn block_on(&self, ticket: Ticket) {
        let lsn = ticket.lsn();
        let answer = Answer { lsn, result: shuttle::future::block_on(ticket) };
        self.judge(&answer);
        self.told.lock().push(answer);
    }

    /// Registers a callback that sends to `done` when it has run.
    fn call(self: &Arc<Model>, ticket: Ticket, done: mpsc::Sender<()>) {
        let (model, lsn) = (Arc::clone(self), ticket.lsn());
        ticket.on_durable(move |result| {
            // No other callback may run in between.
            switch();
            // `finish` checks the answer, because the log catches a panic in a callback.
            model.called.lock().push(Answer { lsn, result });
            drop(model);
            let _ = done.send(());
        });
    }

    /// Ends the log, then checks all answers: there are `tickets` of them, one for each ticket.
    fn finish(self: Arc<Model>, tickets: usize) {
        let model = Arc::into_inner(self).expect("no thread and no callback is left");
        let (called, mut all) = (model.called.into_inner(), model.told.into_inner());
        let durable = model.wal.durable();
        // This fails if the model has stopped the log.
        let _ = model.wal.close();
        let ok = |answers: &[Answer]| -> Vec<Lsn> {
            answers.iter().filter_map(|a| a.result.as_ref().ok().copied()).collect()
        };
        let order = ok(&called);
        assert!(order.is_sorted(), "callbacks out of order: {order:?}");
        all.extend(called);
        assert_eq!(all.len(), tickets, "a ticket was not answered, or twice");
        let mut lsns: Vec<Lsn> = all.iter().map(|a| a.lsn).collect();
        lsns.sort_unstable();
        lsns.dedup();
        assert_eq!(lsns.len(), tickets, "a ticket was answered twice");
        for answer in &all {
            // The durable end agrees with each answer, whenever the answer came.
            let is_durable = answer.lsn < durable;
            assert_eq!(answer.result.is_ok(), is_durable, "{answer:?}, durable to {durable}");
        }
    }
}

/// Starts `count` threads that run `f` with their number, and waits for them.
fn threads(model: &Arc<Model>, count: usize, f: fn(&Arc<Model>, usize)) {
    let run = |i| {
        let model = Arc::clone(model);
        thread::spawn(move || f(&model, i))
    };
    let running: Vec<_> = (0..count).map(run).collect();
    running.into_iter().for_each(|t| t.join().expect("no panic"));
}

#[test]
fn blocking_threads_hand_over() {
    explore(2000, || {
        let model = Model::new(Threads::Stepped);
        threads(&model, 3, |model, i| {
            for n in 0..2 {
                let ticket = model.append(if (i + n) % 2 == 0 { LARGE } else { 100 }, Durability::Sync);
                model.wait(&ticket.expect("the log goes on"));
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
            let tickets = [0; 3].map(|_| model.append(LARGE, Durability::Sync).expect("the log goes on"));
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
            _ => model.block_on(ticket),
        }
    }
    drop(done);
    // The loop ends when every callback has run or was dropped.
    while dones.recv().is_ok() {}
}

impl Model {
    /// Checks that the log has stopped.
    fn refused(&self) {
        let error = self.wal.flush().expect_err("a stopped log flushes nothing");
        assert!(matches!(error, Error::Latched { .. }), "{error}");
    }

    fn tickets(&self) -> usize {
        self.appended.lock().len()
    }
}

#[test]
fn thread_callback_and_future() {
    explore(1500, || {
        let model = Model::new(Threads::Spawned);
        threads(&model, 3, mixed);
        model.finish(6);
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
                let ticket = model.append(100 + LARGE * (i % 2), Durability::Sync).expect("the log goes on");
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
            let ticket = ticket.expect("the log goes on");
            if i < 2 {
                let end = model.wal.flush().expect("the log goes on");
                assert!(end > ticket.lsn() && ticket.is_durable());
                model.wait(&ticket);
            } else {
                model.wal.flush().expect("the log goes on");
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
            let tickets = [0; 2].map(|_| model.append(40 << 10, class).expect("the log goes on"));
            model.wal.flush().expect("the log goes on");
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
                model.wait(&model.append(LARGE, Durability::Sync).expect("the log goes on"));
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
        let wal = Arc::into_inner(model).expect("nobody else").wal;
        let (done, dones) = mpsc::channel();
        // Dropping the log, unlike closing it, flushes nothing.
        let closed = chance();
        let waiting = thread::spawn(move || waited.wait());
        let awaiting = thread::spawn(move || shuttle::future::block_on(awaited));
        let calling = thread::spawn(move || {
            called.on_durable(move |result| done.send(result).expect("somebody listens"));
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
                let ticket = model.append(100, class).expect("the log goes on");
                match i {
                    0 => model.wait(&ticket),
                    1 => model.call(ticket, done.clone()),
                    _ => model.block_on(ticket),
                }
            }
            if i == 2 {
                let inside = Arc::clone(model);
                let ticket = model.append(100, Durability::Sync).expect("the log goes on");
                model.told.lock().push(Answer { lsn: ticket.lsn(), result: Ok(ticket.lsn()) });
                ticket.on_durable(move |result| {
                    result.expect("the log goes on");
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
        let wal = Arc::into_inner(model).expect("nobody else").wal;
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
                    let ticket = model.wal.append(&batch, Durability::Sync).expect("the log goes on");
                    sender.send((ticket.lsn(), byte)).expect("a reader");
                    ticket.wait().expect("the log goes on");
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
