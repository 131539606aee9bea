//! Provides a log under `shuttle`, threads that use it, and the checks of all answers that they get.

use crate::watched::{Answer, Watched, switch};

use parking_lot::Mutex as Plain;
use seawall_wal::disk::sim::{SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Mode, clock::Clock};
use seawall_wal::notify::{Bell, Notify};
use seawall_wal::{Durability, Env, Error, Lsn, Options, RecordBuilder, Threads, Ticket, Wal};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::mpsc;
use shuttle::{Config, MaxSteps, Runner, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `model` under both schedulers, `runs` or `SEAWALL_RUNS` times each.
pub fn explore(runs: usize, model: fn()) {
    let runs = std::env::var("SEAWALL_RUNS").ok().and_then(|r| r.parse().ok()).unwrap_or(runs);
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    // Shuttle warns that it does not model orderings weaker than SeqCst.
    config.silence_warnings = true;
    // A log whose threads run for ever without progress is stuck, too.
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
pub struct Model {
    pub disk: Arc<SimDisk>,
    watched: Arc<Watched>,
    pub wal: Wal,
    /// Answers to callbacks, in the order in which they ran.
    called: Plain<Vec<Answer>>,
    /// Answers to threads and futures.
    pub told: Plain<Vec<Answer>>,
    /// Positions and lengths of the records that were appended.
    appended: Plain<Vec<(Lsn, usize)>>,
    /// Held from an append until its callback is registered.
    pub order: shuttle::sync::Mutex<()>,
}

/// A random choice of `shuttle`.
pub fn chance() -> bool {
    shuttle::rand::thread_rng().gen_bool(0.5)
}

pub fn options() -> Options {
    let (segment_bytes, queue_bytes) = (64 << 10, 64 << 10);
    Options::default()
        .with_segment_bytes(segment_bytes)
        .with_queue_bytes(queue_bytes)
        .with_group_bytes(4096)
        .with_idle_ms(1)
}

impl Model {
    pub fn new(threads: Threads) -> Arc<Model> {
        let in_flight = if chance() { 1 } else { 4 };
        Model::with(threads, &options().with_writes_in_flight_max(in_flight))
    }

    /// `shuttle` chooses the disk's mode and the clock.
    pub fn with(threads: Threads, options: &Options) -> Arc<Model> {
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
    pub fn append(&self, bytes: usize, class: Durability) -> Option<Ticket> {
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
    fn check(&self, answer: &Answer) {
        if let Ok(lsn) = answer.result {
            assert_eq!(lsn, answer.lsn);
            let appended = self.appended.lock().clone();
            let (_, bytes) = appended.iter().find(|(at, _)| *at == lsn).expect("`append` keeps its length");
            self.watched.assert_durable(lsn, *bytes);
        }
    }

    pub fn wait(&self, ticket: &Ticket) {
        let answer = Answer { lsn: ticket.lsn(), result: ticket.wait() };
        self.check(&answer);
        self.told.lock().push(answer);
    }

    /// Writes if no other thread does; otherwise sleeps until the record's outcome is known.
    pub fn write_or_sleep(&self, ticket: &Ticket) {
        let bell = Arc::new(Bell::new());
        let rung = bell.rung();
        ticket.try_write();
        if ticket.outcome().is_none() {
            ticket.notify(Notify::Bell(Arc::clone(&bell)));
        }
        let result = loop {
            match ticket.outcome() {
                Some(result) => break result,
                None => bell.wait(rung, None),
            }
        };
        let answer = Answer { lsn: ticket.lsn(), result };
        self.check(&answer);
        self.told.lock().push(answer);
    }

    pub fn block_on(&self, ticket: Ticket) {
        let lsn = ticket.lsn();
        let answer = Answer { lsn, result: shuttle::future::block_on(ticket) };
        self.check(&answer);
        self.told.lock().push(answer);
    }

    /// Registers a callback that sends to `done` when it has run.
    pub fn call(self: &Arc<Model>, ticket: Ticket, done: mpsc::Sender<()>) {
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
    pub fn finish(self: Arc<Model>, tickets: usize) {
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
        assert_eq!(all.len(), tickets, "a ticket got no answer, or two");
        let mut lsns: Vec<Lsn> = all.iter().map(|a| a.lsn).collect();
        lsns.sort_unstable();
        lsns.dedup();
        assert_eq!(lsns.len(), tickets, "a ticket got two answers");
        for answer in &all {
            // The durable end agrees with each answer, whenever the answer came.
            let is_durable = answer.lsn < durable;
            assert_eq!(answer.result.is_ok(), is_durable, "{answer:?}, durable to {durable}");
        }
    }

    /// Checks that the log has stopped.
    pub fn refused(&self) {
        let error = self.wal.flush().expect_err("a stopped log flushes nothing");
        assert!(matches!(error, Error::Latched { .. }), "{error}");
    }

    pub fn tickets(&self) -> usize {
        self.appended.lock().len()
    }
}

/// Starts `count` threads that run `f` with their number, and waits for them.
pub fn threads(model: &Arc<Model>, count: usize, f: fn(&Arc<Model>, usize)) {
    let run = |i| {
        let model = Arc::clone(model);
        thread::spawn(move || f(&model, i))
    };
    let running: Vec<_> = (0..count).map(run).collect();
    running.into_iter().for_each(|t| t.join().expect("no panic"));
}
