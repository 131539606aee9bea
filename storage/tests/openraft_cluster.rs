//! Three openraft nodes on simulated disks, in simulated time, on one thread: messages are lost and late, flushes
//! take their time, nodes lose their power at any operation of their disk and come back.
//!
//! Whatever happens: no index is applied with two different entries, on any node or by any incarnation of it; what
//! was acknowledged is never gone; and once the faults stop, all agree.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test openraft_cluster` repeats one run; `SEAWALL_RUNS=n` makes n runs from
//! random seeds.

mod openraft_machine;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{AnyError, AsyncRuntime, BasicNode, Config, OptionalSend, Raft, SnapshotPolicy};
use openraft_machine::{Applied, Machine, Shared};
use openraft_rt_tokio::TokioRuntime;
use seawall::openraft::{Error, LogOptions, LogStore, Logs};
use seawall::{Engine, Options};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Mode, Random, SystemRandom};
use seawall_wal::{Env, Threads};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const NODES: usize = 3;

openraft::declare_raft_types!(Types: D = u64, R = u64, AsyncRuntime = Rt);

/// Every task gets its random numbers from the seed.
type Rt = DeterministicRng<TokioRuntime>;

type Core = Raft<Types, Machine<Types>>;
type Sent<T> = Result<T, RPCError<Types>>;

#[derive(Clone)]
struct Rng(Arc<Mutex<u64>>);

impl Rng {
    fn below(&self, n: u64) -> u64 {
        let mut state = lock(&self.0);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way to every node that is up.
#[derive(Clone)]
struct Net {
    rng: Rng,
    nodes: Arc<Mutex<[Option<Core>; NODES]>>,
    lossy: Arc<Mutex<bool>>,
    target: usize,
}

fn lost() -> Unreachable<Types> {
    Unreachable::new(&AnyError::error("lost"))
}

impl Net {
    /// A message, or an answer, takes some time, and may never come.
    async fn travel(&self) -> Result<(), Unreachable<Types>> {
        sleep(Duration::from_millis(self.rng.below(12))).await;
        if *lock(&self.lossy) && self.rng.below(100) < 15 { Err(lost()) } else { Ok(()) }
    }

    async fn reach(&self) -> Result<Core, Unreachable<Types>> {
        self.travel().await?;
        lock(&self.nodes)[self.target].clone().ok_or_else(lost)
    }
}

impl RaftNetworkFactory<Types> for Net {
    type Network = Net;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Net {
        Net { target: usize::try_from(target).unwrap() - 1, ..self.clone() }
    }
}

impl RaftNetworkV2<Types> for Net {
    type SnapshotData = Applied;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Sent<AppendEntriesResponse<Types>> {
        let answer = self.reach().await?.append_entries(request).await.map_err(|_| lost())?;
        self.travel().await?;
        Ok(answer)
    }

    async fn vote(&mut self, request: VoteRequest<Types>, _: RPCOption) -> Sent<VoteResponse<Types>> {
        let answer = self.reach().await?.vote(request).await.map_err(|_| lost())?;
        self.travel().await?;
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, Applied>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(lost().into())
    }
}

struct Node {
    disk: Arc<SimDisk>,
    alive: Option<(Engine, Core, JoinHandle<()>)>,
    applied: Shared,
}

struct Run {
    rng: Rng,
    net: Net,
    nodes: Vec<Node>,
    /// Log id and number of every index that was applied anywhere.
    history: BTreeMap<u64, String>,
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
    proposed: u64,
    crashes: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let rng = Rng(Arc::new(Mutex::new(seed)));
        let nodes = (0..NODES).map(|_| {
            let mode = if rng.below(2) == 0 { Mode::Direct } else { Mode::Buffered };
            let disk = SimDisk::new(rng.below(u64::MAX), SimOptions { mode, ..SimOptions::default() });
            Node { disk, alive: None, applied: Shared::default() }
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

    /// Opens or creates node `at`; a crash point may strike on the way.
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
        let logs = Logs::new(&engine, LogOptions { threads: 0, read_bytes_max: 300 });
        let store: LogStore<Types> = LogStore::open(&logs, 7).map_err(|e: Error| e.to_string())?;
        let config = Config {
            heartbeat_interval: 25,
            election_timeout_min: 80,
            election_timeout_max: 160,
            max_payload_entries: 3,
            snapshot_policy: SnapshotPolicy::Never,
            ..Config::default()
        };
        // The state machine is in memory: the core applies what it knows to be committed, from the start.
        node.applied = Shared::default();
        let machine = Machine::new(Arc::clone(&node.applied));
        let config = Arc::new(config.validate().unwrap());
        // A disk that writes when its time comes, whoever waits.
        let flushed = engine.clone();
        let disk = Rt::spawn(async move {
            loop {
                sleep(Duration::from_millis(1 + rng.below(10))).await;
                if flushed.flush().is_err() {
                    return;
                }
            }
        });
        let core = Core::new(at as u64 + 1, config, self.net.clone(), store, machine).await;
        let core = core.map_err(|e| {
            disk.abort();
            e.to_string()
        })?;
        lock(&self.net.nodes)[at] = Some(core.clone());
        self.nodes[at].alive = Some((engine, core, disk));
        Ok(())
    }

    /// The power goes.
    async fn crash(&mut self, at: usize) {
        self.crashes += 1;
        self.look(at);
        lock(&self.net.nodes)[at] = None;
        self.nodes[at].disk.crash();
        if let Some((engine, core, disk)) = self.nodes[at].alive.take() {
            disk.abort();
            // The core may wait for a vote: the log finds that its disk is gone, and answers.
            let _ = engine.flush();
            drop(engine);
            let _ = core.shutdown().await;
        }
    }

    /// What node `at` applied is what others, and it itself before, applied.
    fn look(&mut self, at: usize) {
        for (id, number) in lock(&self.nodes[at].applied).iter() {
            let found = format!("{id} {number:?}");
            let known = self.history.entry(id.index).or_insert_with(|| found.clone());
            assert_eq!(*known, found, "node {}: index {} was applied differently", at + 1, id.index);
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
                Rt::spawn(async move {
                    if core.client_write(number).await.is_ok() {
                        lock(&acknowledged).insert(number);
                    }
                });
            }
            90..94 => self.nodes[at].disk.crash_after(1 + self.rng.below(60)),
            94..96 => self.crash(at).await,
            _ => self.look(at),
        }
    }

    /// No more faults: the nodes must agree, and have everything that was ever applied or acknowledged.
    async fn settle(&mut self) {
        *lock(&self.net.lossy) = false;
        for at in 0..NODES {
            // All of them, so that no crash point is armed any more.
            self.crash(at).await;
            self.start(at).await.unwrap();
        }
        // A number that is applied everywhere, and so everything before it.
        let last = u64::MAX - 1;
        let agree = async {
            loop {
                sleep(Duration::from_millis(100)).await;
                for at in 0..NODES {
                    let core = lock(&self.net.nodes)[at].clone().unwrap();
                    let _ = timeout(Duration::from_millis(500), core.client_write(last)).await;
                }
                let done = |node: &Node| lock(&node.applied).iter().any(|(_, number)| *number == Some(last));
                if self.nodes.iter().all(done) {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(60), agree).await.expect("the nodes do not come to an agreement");
        for at in 0..NODES {
            self.look(at);
            let applied = lock(&self.nodes[at].applied).clone();
            let numbers: BTreeSet<u64> = applied.iter().filter_map(|(_, number)| *number).collect();
            let missing: Vec<u64> = lock(&self.acknowledged).difference(&numbers).copied().collect();
            assert!(missing.is_empty(), "node {}: acknowledged and lost: {missing:?}", at + 1);
        }
    }
}

/// Entries applied, numbers acknowledged, crashes, and everything that was applied as one text.
fn run(seed: u64) -> (usize, usize, u64, String) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(Rt::scope(seed, async {
        let mut run = Run::new(seed);
        for at in 0..NODES {
            run.start(at).await.unwrap();
        }
        let members: BTreeMap<u64, BasicNode> = (1..=3).map(|id| (id, BasicNode::default())).collect();
        let first = lock(&run.net.nodes)[0].clone().unwrap();
        first.initialize(members).await.unwrap();
        for _ in 0..600 {
            run.step().await;
        }
        run.settle().await;
        let acknowledged = lock(&run.acknowledged).len();
        (run.history.len(), acknowledged, run.crashes, format!("{:?}", run.history))
    }))
}

#[test]
fn nodes_agree_whatever_crashes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    if let Some(seed) = number("SEAWALL_SEED") {
        let (entries, acknowledged, crashes, _) = run(seed);
        println!("{entries} entries applied, {acknowledged} numbers acknowledged, {crashes} crashes");
        return;
    }
    let random = number("SEAWALL_RUNS");
    let (mut entries, mut acknowledged, mut crashes) = (0, 0, 0);
    for n in 0..random.unwrap_or(10) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        let done = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("repeat with SEAWALL_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        (entries, acknowledged, crashes) = (entries + done.0, acknowledged + done.1, crashes + done.2);
    }
    println!("{entries} entries applied, {acknowledged} numbers acknowledged, {crashes} crashes");
    let busy = entries > 500 && acknowledged > 150 && crashes > 100;
    assert!(random.is_some() || busy, "{entries} entries, {acknowledged} acknowledged, {crashes} crashes");
}

#[test]
fn a_seed_is_one_history() {
    assert_eq!(run(77).3, run(77).3);
}
