//! Simulates three openraft nodes of either version on simulated disks, in simulated time, on one thread.
//!
//! Messages are lost and delayed, flushes take time, and nodes lose power at any operation of their disks and
//! restart. A run fails if an index is applied with two different entries, by any node or incarnation of it;
//! if an acknowledged number is lost; or if the nodes do not agree once the faults stop. A [`Line`] is what
//! differs between the versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall::{Engine, Options, WriteBatch};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{
    Mode,
    clock::{Random, SystemRandom},
};
use seawall_wal::{Env, Threads};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{random, seeds};

pub const NODES: usize = 3;

/// Heartbeat interval of the core, in milliseconds.
pub const HEARTBEAT_MS: u64 = 25;
pub const ELECTION_MS: std::ops::Range<u64> = 80..160;

/// A time limit that only a hang exceeds.
const LONG: Duration = Duration::from_secs(60);

/// The entries that a node applied: log id and number of each; `None` for an entry of the core.
pub type Shared<L> = Arc<Mutex<Vec<(<L as Line>::LogId, Option<u64>)>>>;

/// A version of openraft: its core, with its log on an engine and a state machine of numbers.
pub trait Line: Sized + 'static {
    type Core: Clone + Send + 'static;
    type LogId: Clone + Display + Send + 'static;

    fn index(id: &Self::LogId) -> u64;
    /// Starts node `id`, whose state machine is empty and adds what it applies to `applied`.
    async fn start(
        id: u64,
        engine: &Engine,
        net: Net<Self::Core>,
        applied: Shared<Self>,
    ) -> Result<Self::Core, String>;
    /// Makes all nodes members. Must be called once, on one of them.
    async fn initialize(core: &Self::Core);
    /// Proposes `number`, and returns whether it was acknowledged.
    fn write(core: Self::Core, number: u64) -> impl Future<Output = bool> + Send;
    async fn shutdown(core: Self::Core);
    /// Runs a history that draws all random numbers from `seed`.
    async fn scope<T>(seed: u64, history: impl Future<Output = T>) -> T;
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()>;
}

/// The random numbers of a run, shared by all its tasks.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<random::Rng>>);

impl Rng {
    pub fn below(&self, n: u64) -> u64 {
        lock(&self.0).below(n)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The network to every node that is up.
#[derive(Clone)]
pub struct Net<C> {
    pub rng: Rng,
    nodes: Arc<Mutex<[Option<C>; NODES]>>,
    lossy: Arc<Mutex<bool>>,
    target: usize,
}

/// The error of a message that does not arrive.
pub struct Lost;

impl<C: Clone> Net<C> {
    /// The network of a node that has no peers.
    pub fn without_peers() -> Net<C> {
        let rng = Rng(Arc::new(Mutex::new(random::Rng(0))));
        let nodes = Arc::new(Mutex::new(std::array::from_fn(|_| None)));
        Net { rng, nodes, lossy: Arc::default(), target: 0 }
    }

    /// Returns the network to node `target`.
    pub fn to(&self, target: u64) -> Net<C> {
        Net { target: usize::try_from(target).unwrap() - 1, ..self.clone() }
    }

    /// Sends a request to the node and returns the answer. Both travel through the network.
    pub async fn ask<A, E, F>(&self, request: impl FnOnce(C) -> F) -> Result<A, Lost>
    where
        F: Future<Output = Result<A, E>>,
    {
        self.travel().await?;
        let core = lock(&self.nodes)[self.target].clone().ok_or(Lost)?;
        let answer = request(core).await.map_err(|_| Lost)?;
        self.travel().await?;
        Ok(answer)
    }

    /// Delays a message or an answer, and may lose it.
    async fn travel(&self) -> Result<(), Lost> {
        sleep(Duration::from_millis(self.rng.below(12))).await;
        if *lock(&self.lossy) && self.rng.below(100) < 15 { Err(Lost) } else { Ok(()) }
    }
}

struct Node<L: Line> {
    disk: Arc<SimDisk>,
    alive: Option<(Engine, L::Core, JoinHandle<()>)>,
    applied: Shared<L>,
}

struct Run<L: Line> {
    rng: Rng,
    net: Net<L::Core>,
    nodes: Vec<Node<L>>,
    /// Log id and number of each index that any node applied.
    history: BTreeMap<u64, String>,
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
    proposed: u64,
    crashes: u64,
}

impl<L: Line> Run<L> {
    fn new(seed: u64) -> Run<L> {
        let rng = Rng(Arc::new(Mutex::new(random::Rng(seed))));
        let nodes = (0..NODES).map(|_| {
            let mode = if rng.below(2) == 0 { Mode::Direct } else { Mode::Buffered };
            let disk = SimDisk::new(rng.below(u64::MAX), SimOptions { mode, ..SimOptions::default() });
            Node { disk, alive: None, applied: Arc::default() }
        });
        let nodes = nodes.collect();
        let net =
            Net { rng: rng.clone(), nodes: Arc::default(), lossy: Arc::new(Mutex::new(true)), target: 0 };
        Run {
            rng,
            net,
            nodes,
            history: BTreeMap::new(),
            acknowledged: Arc::default(),
            proposed: 0,
            crashes: 0,
        }
    }

    /// Opens or creates node `at`. A crash point may interrupt this.
    async fn start(&mut self, at: usize) -> Result<(), String> {
        let (node, rng) = (&mut self.nodes[at], self.rng.clone());
        let mut options = Options::default();
        options.log.segment_bytes = 4096 * 24;
        options.slack_bytes = 0;
        let env = Env {
            disk: node.disk.process(),
            clock: Arc::new(SimClock::new()),
            random: Arc::new(SimRandom::new(rng.below(u64::MAX))),
            threads: Threads::Stepped,
        };
        let engine = match node.disk.exists("IDENTITY") {
            true => Engine::open_in(env, &options).map(|(engine, _)| engine),
            false => Engine::create_in(env, &options),
        };
        let engine = engine.map_err(|e| e.to_string())?;
        // The state machine is in memory, so the core applies again all entries that it knows to be
        // committed.
        node.applied = Arc::default();
        // Flushes the log at random times, whether a task waits for it or not.
        let flushed = engine.clone();
        let disk = L::spawn(async move {
            loop {
                sleep(Duration::from_millis(1 + rng.below(10))).await;
                if flushed.flush().is_err() {
                    return;
                }
            }
        });
        let applied = Arc::clone(&node.applied);
        let core = L::start(at as u64 + 1, &engine, self.net.clone(), applied).await;
        let core = core.inspect_err(|_| disk.abort())?;
        lock(&self.net.nodes)[at] = Some(core.clone());
        self.nodes[at].alive = Some((engine, core, disk));
        Ok(())
    }

    /// Cuts the power of node `at`.
    async fn crash(&mut self, at: usize) {
        self.crashes += 1;
        self.look(at);
        lock(&self.net.nodes)[at] = None;
        self.nodes[at].disk.crash();
        if let Some((engine, core, disk)) = self.nodes[at].alive.take() {
            disk.abort();
            // The core may wait for a vote or an append, or begin another one. This write makes the log
            // notice that its disk is gone, and answer. A `flush` may fail in its housekeeping before it
            // reaches the log.
            let mut batch = WriteBatch::new();
            batch.put_meta(99, b"power", b"gone");
            let durable = engine.write(&mut batch).is_ok_and(|ticket| ticket.wait().is_ok());
            assert!(!durable, "node {}: the disk is gone", at + 1);
            drop(engine);
            timeout(LONG, L::shutdown(core)).await.expect("the core does not end");
        }
    }

    /// Checks that node `at` applied the same entries as the other nodes, and as it did before.
    fn look(&mut self, at: usize) {
        for (id, number) in lock(&self.nodes[at].applied).iter() {
            let found = format!("{id} {number:?}");
            let known = self.history.entry(L::index(id)).or_insert_with(|| found.clone());
            assert_eq!(*known, found, "node {}: {id} was applied differently", at + 1);
        }
    }

    async fn step(&mut self) {
        sleep(Duration::from_millis(self.rng.below(20))).await;
        let at = usize::try_from(self.rng.below(NODES as u64)).unwrap();
        if self.nodes[at].disk.crash_reached() {
            self.crash(at).await;
        }
        let Some((_, core, _)) = &self.nodes[at].alive else {
            if self.rng.below(4) == 0 {
                self.nodes[at].disk.crash_after(1 + self.rng.below(200));
            }
            if let Err(error) = self.start(at).await {
                assert!(self.nodes[at].disk.crash_reached(), "node {}: start: {error}", at + 1);
                self.crash(at).await;
            }
            return;
        };
        match self.rng.below(100) {
            0..90 => {
                let (core, acknowledged, number) =
                    (core.clone(), Arc::clone(&self.acknowledged), self.proposed);
                self.proposed += 1;
                L::spawn(async move {
                    if L::write(core, number).await {
                        lock(&acknowledged).insert(number);
                    }
                });
            }
            90..94 => self.nodes[at].disk.crash_after(1 + self.rng.below(60)),
            94..96 => self.crash(at).await,
            _ => self.look(at),
        }
    }

    /// Stops the faults, and checks that the nodes agree and have everything that was ever applied or
    /// acknowledged.
    async fn settle(&mut self) {
        *lock(&self.net.lossy) = false;
        for at in 0..NODES {
            // Crashes all of them, so that no crash point stays armed.
            self.crash(at).await;
            self.start(at).await.unwrap();
        }
        // A node that has applied this number has applied everything before it.
        let last = u64::MAX - 1;
        let agree = async {
            loop {
                sleep(Duration::from_millis(100)).await;
                for at in 0..NODES {
                    let core = lock(&self.net.nodes)[at].clone().unwrap();
                    let _ = timeout(Duration::from_millis(500), L::write(core, last)).await;
                }
                let done =
                    |node: &Node<L>| lock(&node.applied).iter().any(|(_, number)| *number == Some(last));
                if self.nodes.iter().all(done) {
                    return;
                }
            }
        };
        timeout(LONG, agree).await.expect("the nodes do not agree");
        for at in 0..NODES {
            self.look(at);
            let applied = lock(&self.nodes[at].applied).clone();
            let numbers: BTreeSet<u64> = applied.iter().filter_map(|(_, number)| *number).collect();
            let missing: Vec<u64> = lock(&self.acknowledged).difference(&numbers).copied().collect();
            assert!(missing.is_empty(), "node {}: acknowledged and lost: {missing:?}", at + 1);
        }
    }
}

/// Outcome of a history.
#[derive(Default)]
struct Outcome {
    entries: usize,
    acknowledged: usize,
    crashes: u64,
    /// Everything that was applied, as text.
    text: String,
}

fn run<L: Line>(seed: u64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(L::scope(seed, async {
        let mut run = Run::<L>::new(seed);
        for at in 0..NODES {
            run.start(at).await.unwrap();
        }
        let first = lock(&run.net.nodes)[0].clone().unwrap();
        L::initialize(&first).await;
        for _ in 0..600 {
            run.step().await;
        }
        run.settle().await;
        let acknowledged = lock(&run.acknowledged).len();
        let (entries, text) = (run.history.len(), format!("{:?}", run.history));
        Outcome { entries, acknowledged, crashes: run.crashes, text }
    }))
}

/// Tests that the nodes agree in ten histories, or in those that the environment variables select.
pub fn nodes_agree_whatever_crashes<L: Line>() {
    let (one, random) = (seeds::number("SEAWALL_SEED"), seeds::number("SEAWALL_RUNS"));
    let mut all = Outcome::default();
    for n in 0..if one.is_some() { 1 } else { random.unwrap_or(10) } {
        let seed = one.unwrap_or_else(|| if random.is_some() { SystemRandom.next_u64() } else { n });
        let done = seeds::with_seed(seed, || run::<L>(seed));
        all.entries += done.entries;
        all.acknowledged += done.acknowledged;
        all.crashes += done.crashes;
    }
    let Outcome { entries, acknowledged, crashes, .. } = all;
    println!("{entries} entries applied, {acknowledged} numbers acknowledged, {crashes} crashes");
    let busy = entries > 500 && acknowledged > 150 && crashes > 100;
    let chosen = one.is_some() || random.is_some();
    assert!(chosen || busy, "{entries} entries, {acknowledged} acknowledged, {crashes} crashes");
}

/// Tests that a seed always makes the same history.
pub fn a_seed_is_one_history<L: Line>() {
    assert_eq!(run::<L>(77).text, run::<L>(77).text);
}
