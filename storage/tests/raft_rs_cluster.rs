//! Three nodes on simulated disks under a seeded scheduler: messages are lost, doubled and reordered,
//! flushes come late, nodes crash at any operation of their disk and come back.
//!
//! Whatever happens: no index is applied with two different entries, on any node or by any incarnation of
//! it; what was applied is never gone; the core never panics; and once the faults stop, all agree.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test raft_rs_cluster` repeats one run;
//! `SEAWALL_RUNS=n` makes n runs from random seeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::Config;
use raft::eraftpb::{Entry, Message};
use seawall::raft_rs::{Error, GroupStorage, Host, HostError, Pump, PumpOptions};
use seawall::{ConfState, Engine, Options};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Mode, Random, SystemRandom};
use seawall_wal::{Env, Threads};

const GROUP: u64 = 1;
const NODES: usize = 3;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Default)]
struct Machine {
    sent: Vec<Message>,
    applied: Vec<Entry>,
}

impl Host for Machine {
    fn send(&mut self, messages: Vec<Message>) {
        self.sent.extend(messages);
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        self.applied.extend_from_slice(entries);
        Ok(())
    }
}

struct Node {
    disk: Arc<SimDisk>,
    /// What its state machine has on a disk of its own: the applied index, at times behind.
    remembered: u64,
    alive: Option<(Engine, Pump<Machine>)>,
}

struct Run {
    rng: Rng,
    nodes: Vec<Node>,
    network: Vec<Message>,
    /// Term and data of every index that was applied anywhere.
    history: BTreeMap<u64, (u64, Vec<u8>)>,
    proposed: u64,
    crashes: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng(seed);
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let mode = if rng.chance(50) { Mode::Direct } else { Mode::Buffered };
            let options = SimOptions { mode, short_writes: rng.chance(30), ..SimOptions::default() };
            nodes.push(Node { disk: SimDisk::new(rng.next(), options), remembered: 0, alive: None });
        }
        let (network, history) = (Vec::new(), BTreeMap::new());
        Run { rng, nodes, network, history, proposed: 0, crashes: 0 }
    }

    /// Opens or creates node `at`; a crash point may strike on the way.
    fn start(&mut self, at: usize) -> Result<(), Error> {
        let mut options = Options::default();
        options.log.segment_bytes = 4096 * 24;
        options.log.group_bytes = 4096 * u32::try_from(1 + self.rng.below(4)).unwrap();
        let node = &mut self.nodes[at];
        let env = Env {
            disk: node.disk.process(),
            clock: Arc::new(SimClock::new()),
            random: Arc::new(SimRandom::new(self.rng.next())),
            threads: Threads::Stepped,
        };
        let engine = if node.disk.exists("IDENTITY") {
            Engine::open_in(env, &options)?.0
        } else {
            Engine::create_in(env, &options)?
        };
        let store = GroupStorage::new(&engine, GROUP);
        if store.group().conf_state().is_none() {
            store.bootstrap(&ConfState { voters: vec![1, 2, 3], ..ConfState::default() })?;
        }
        let config = Config {
            applied: node.remembered,
            election_tick: 10,
            heartbeat_tick: 2,
            max_size_per_msg: 200 * self.rng.below(4),
            max_inflight_msgs: 4,
            max_committed_size_per_ready: 100,
            pre_vote: self.rng.chance(50),
            ..Config::new(at as u64 + 1)
        };
        let readys_max = 1 + self.rng.pick(8);
        let options = PumpOptions { readys_max, ..PumpOptions::default() };
        let pump = Pump::new(&engine, GROUP, &config, Machine::default(), options)?;
        self.nodes[at].alive = Some((engine, pump));
        Ok(())
    }

    fn crash(&mut self, at: usize) {
        self.crashes += 1;
        self.nodes[at].alive = None;
        self.nodes[at].disk.crash();
    }

    /// Does `what` with node `at`, if it is up; a node whose disk lost power, or failed with it, goes down.
    fn with(&mut self, at: usize, what: impl FnOnce(&Engine, &mut Pump<Machine>) -> Result<(), Error>) {
        let Node { alive, remembered, .. } = &mut self.nodes[at];
        let Some((engine, pump)) = alive else { return };
        // Refusals are the caller's.
        let result = match what(engine, pump) {
            Err(Error::Core(_)) | Ok(()) => pump.poll().map(|_| ()),
            result => result,
        };
        self.network.append(&mut pump.host_mut().sent);
        for entry in pump.host_mut().applied.drain(..) {
            let found = (entry.term, entry.data.to_vec());
            let known = self.history.entry(entry.index).or_insert_with(|| found.clone());
            assert_eq!(*known, found, "node {}: index {} was applied differently", at + 1, entry.index);
            if self.rng.0 & 3 == 0 {
                *remembered = entry.index;
            }
        }
        if let Err(error) = result {
            assert!(self.nodes[at].disk.crash_reached(), "node {}: {error}", at + 1);
            self.crash(at);
        }
    }

    fn step(&mut self) {
        let at = self.rng.pick(NODES);
        if self.nodes[at].alive.is_none() {
            if self.rng.chance(30) {
                self.nodes[at].disk.crash_after(1 + self.rng.below(200));
            }
            if let Err(error) = self.start(at) {
                assert!(self.nodes[at].disk.crash_reached(), "node {}: start: {error}", at + 1);
                self.crash(at);
            }
            return;
        }
        match self.rng.below(100) {
            0..20 => self.with(at, |_, pump| pump.tick()),
            20..60 => self.deliver(),
            60..78 => self.with(at, |engine, _| engine.flush().map_err(Error::from)),
            78..97 => {
                let mut data = vec![0; self.rng.pick(600)];
                data.extend(self.proposed.to_le_bytes());
                self.proposed += 1;
                self.with(at, |_, pump| pump.propose(vec![], data));
            }
            97 => self.crash(at),
            98 => self.nodes[at].disk.crash_after(1 + self.rng.below(60)),
            _ => self.with(at, |_, pump| pump.campaign()),
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        // Mostly the oldest, at times any: reordered, lost, doubled.
        let which = if self.rng.chance(80) { 0 } else { self.rng.pick(self.network.len()) };
        let message = self.network.remove(which);
        if self.rng.chance(5) {
            return;
        }
        if self.rng.chance(5) {
            self.network.push(message.clone());
        }
        self.pass_on(message);
    }

    fn pass_on(&mut self, message: Message) {
        let to = usize::try_from(message.to - 1).unwrap();
        self.with(to, |_, pump| pump.step(message));
    }

    /// No more faults: the nodes must agree, and have everything that was ever applied.
    fn settle(&mut self) {
        for at in 0..NODES {
            if self.nodes[at].disk.crash_reached() || self.nodes[at].alive.is_some() {
                self.crash(at);
            }
            self.nodes[at].remembered = 0;
            self.start(at).unwrap();
        }
        let last = self.history.keys().next_back().copied().unwrap_or(0);
        for round in 0.. {
            assert!(round < 3000, "the nodes do not come to an agreement");
            for at in 0..NODES {
                self.with(at, |_, pump| pump.tick());
                self.with(at, |engine, _| engine.flush().map_err(Error::from));
            }
            for message in std::mem::take(&mut self.network) {
                self.pass_on(message);
            }
            let applied = self.nodes.iter().map(|node| node.alive.as_ref().unwrap().1.applied());
            let (low, high) = (applied.clone().min().unwrap(), applied.max().unwrap());
            if low == high && low > last {
                return;
            }
        }
    }
}

fn run(seed: u64) -> (u64, u64) {
    let mut run = Run::new(seed);
    for _ in 0..1500 {
        run.step();
    }
    run.settle();
    (run.history.len() as u64, run.crashes)
}

#[test]
fn nodes_agree_whatever_crashes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    if let Some(seed) = number("SEAWALL_SEED") {
        run(seed);
        return;
    }
    let random = number("SEAWALL_RUNS");
    let (mut entries, mut crashes) = (0, 0);
    for n in 0..random.unwrap_or(60) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        let (applied, crashed) = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("repeat with SEAWALL_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        (entries, crashes) = (entries + applied, crashes + crashed);
    }
    println!("{entries} entries applied, {crashes} crashes");
    assert!(random.is_some() || (entries > 1000 && crashes > 1000), "{entries} entries, {crashes} crashes");
}
