//! Three nodes on simulated disks under a seeded scheduler: messages are lost, doubled and reordered,
//! flushes come late, nodes crash at any operation of their disks and come back. In most runs they take
//! snapshots, compact their logs behind them, and catch up by those of others. In most, too, what memory does not have
//! is read beside the core, and given to it whenever the scheduler likes.
//!
//! Whatever happens: no index is applied with two different entries, on any node or by any incarnation of
//! it; a state that comes out of a snapshot is the one that all entries up to there make; what was applied is
//! never gone; the core never panics; and once the faults stop, all agree.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test raft_rs_cluster` repeats one run;
//! `SEAWALL_RUNS=n` makes n runs from random seeds.

mod machine;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use machine::{Machine, Rng, State};
use raft::eraftpb::{Message, MessageType};
use raft::{Config, SnapshotStatus, StateRole};
use seawall::raft_rs::{Error, GroupStorage, Pump, PumpOptions};
use seawall::snapshots::snap::{self, Catalog, Offer};
use seawall::snapshots::{SnapshotOptions, Snapshots, Start};
use seawall::{ConfState, Engine, EntryRef, Options, WriteBatch};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Mode, Random, SystemRandom};
use seawall_wal::{Env, Threads};

const GROUP: u64 = 1;
const NODES: usize = 3;
/// A group beside it on each node's log.
const OTHER: u64 = 2;

struct Node {
    disk: Arc<SimDisk>,
    /// Where its snapshots are; they lose their power together.
    files: Arc<SimDisk>,
    /// What its state machine has on a disk of its own, at times behind.
    remembered: State,
    alive: Option<Alive>,
}

struct Alive {
    engine: Engine,
    pump: Pump<Machine>,
    snapshots: Option<Snapshots>,
}

impl Node {
    fn crash_reached(&self) -> bool {
        self.disk.crash_reached() || self.files.crash_reached()
    }
}

struct Run {
    rng: Rng,
    nodes: Vec<Node>,
    network: Vec<Message>,
    /// Term and data of every index that was applied anywhere.
    history: BTreeMap<u64, (u64, Vec<u8>)>,
    /// The state behind each of them.
    states: BTreeMap<u64, u64>,
    proposed: u64,
    crashes: u64,
    /// Whether snapshots are taken; how many were, and how many came from others.
    snapshots: bool,
    taken: u64,
    restored: u64,
    /// Whether entries that memory does not have are read beside the core; messages that have some.
    fetch_beside: bool,
    fetched: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng(seed);
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let mode = if rng.chance(50) { Mode::Direct } else { Mode::Buffered };
            let options = SimOptions { mode, short_writes: rng.chance(30), ..SimOptions::default() };
            let disk = SimDisk::new(rng.next(), options);
            let files = SimDisk::new(rng.next(), SimOptions { mode: Mode::Buffered, ..options });
            nodes.push(Node { disk, files, remembered: State::default(), alive: None });
        }
        let snapshots = rng.chance(70);
        let (network, history, states) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (proposed, crashes, taken, restored, fetched) = (0, 0, 0, 0, 0);
        let fetch_beside = rng.chance(70);
        Run {
            rng,
            nodes,
            network,
            history,
            states,
            proposed,
            crashes,
            snapshots,
            taken,
            restored,
            fetch_beside,
            fetched,
        }
    }

    /// Opens or creates node `at`; a crash point may strike on the way.
    fn start(&mut self, at: usize) -> Result<(), Error> {
        let mut options = Options::default();
        options.log.segment_bytes = 4096 * 24;
        // Small enough, at times, that peers need what memory no longer has.
        options.cache_bytes = [0, 2000, 64 << 10][self.rng.pick(3)];
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
        let mut state = node.remembered;
        let snapshots = match self.snapshots {
            true => {
                let files = Arc::clone(&node.files);
                let (snapshots, start) = open(&engine, &files, state.index, &mut self.rng)?;
                if let Some(mut reader) = start.reader {
                    state = State::load(&mut reader);
                }
                assert_eq!(start.applied, state.index);
                Some(snapshots)
            }
            false => None,
        };
        let known = self.states.get(&state.index).copied();
        assert!(state.index == 0 || known == Some(state.hash), "node {}: {state:?} was never", at + 1);
        // The core draws its timeouts by itself, so it gets one to draw: a seed is one history.
        let timeout = 10 + self.rng.pick(4) * NODES + at;
        let config = Config {
            applied: state.index,
            election_tick: 10,
            min_election_tick: timeout,
            max_election_tick: timeout + 1,
            heartbeat_tick: 2,
            max_size_per_msg: 200 * self.rng.below(4),
            max_inflight_msgs: 4,
            max_committed_size_per_ready: 100,
            pre_vote: self.rng.chance(50),
            ..Config::new(at as u64 + 1)
        };
        let readys_max = 1 + self.rng.pick(8);
        let (snapshots_of, fetch_beside) = (snapshots.clone(), self.fetch_beside);
        let options =
            PumpOptions { readys_max, fetch_beside, snapshots: snapshots_of, ..PumpOptions::default() };
        let machine = Machine { state, ..Machine::default() };
        let pump = Pump::new(&engine, GROUP, &config, machine, options)?;
        self.nodes[at].alive = Some(Alive { engine, pump, snapshots });
        Ok(())
    }

    fn crash(&mut self, at: usize) {
        self.crashes += 1;
        self.nodes[at].alive = None;
        self.nodes[at].disk.crash();
        self.nodes[at].files.crash();
    }

    /// Does `what` with node `at`, if it is up; a node whose disk lost power, or failed with it, goes down.
    fn with(&mut self, at: usize, what: impl FnOnce(&Engine, &mut Pump<Machine>) -> Result<(), Error>) {
        let Node { alive, remembered, .. } = &mut self.nodes[at];
        let Some(Alive { engine, pump, .. }) = alive else { return };
        let mut state = pump.host().state;
        // Refusals are the caller's.
        let result = match what(engine, pump) {
            Err(Error::Core(_)) | Ok(()) => pump.poll().map(|_| ()),
            result => result,
        };
        self.network.append(&mut pump.host_mut().sent);
        let host = pump.host_mut();
        self.taken += std::mem::take(&mut host.taken);
        for found in host.restored.drain(..) {
            self.restored += 1;
            assert_eq!(self.states.get(&found.index), Some(&found.hash), "node {}: {found:?}", at + 1);
            state = found;
        }
        for entry in host.applied.drain(..).filter(|entry| entry.index > state.index).collect::<Vec<_>>() {
            state.add(&entry);
            self.states.entry(entry.index).or_insert(state.hash);
            let found = (entry.term, entry.data.to_vec());
            let known = self.history.entry(entry.index).or_insert_with(|| found.clone());
            assert_eq!(*known, found, "node {}: index {} was applied differently", at + 1, entry.index);
            if self.rng.0 & 3 == 0 {
                *remembered = state;
            }
        }
        let offered = std::mem::take(&mut host.offered);
        if let Err(error) = result {
            assert!(self.nodes[at].crash_reached(), "node {}: {error}", at + 1);
            self.crash(at);
        }
        for (offer, message) in offered {
            self.fetch(at, &offer, message);
        }
    }

    /// Sends the pieces of a snapshot from one node to another, or some of them; then the message again.
    fn fetch(&mut self, at: usize, offer: &Offer, message: Message) {
        let from = usize::try_from(message.from - 1).unwrap();
        let handle = |node: &Node| node.alive.as_ref().and_then(|alive| alive.snapshots.clone());
        let (own, theirs) = (handle(&self.nodes[at]), handle(&self.nodes[from]));
        let breaks = self.rng.chance(20).then(|| self.rng.below(4));
        let fetched = (|| {
            let (own, theirs) = (own?, theirs?);
            let Some(mut incoming) = own.receive(offer).ok()? else { return Some(()) };
            let export = theirs.catalog().export(offer.id()).ok()?;
            for (n, piece) in (0..).zip(export.pieces(incoming.next()).ok()?) {
                if breaks == Some(n) {
                    return None;
                }
                incoming.accept(&piece.ok()?).ok()?;
            }
            incoming.finish().ok().map(drop)
        })();
        match fetched {
            Some(()) => self.network.push(message),
            None => self.with(from, |_, pump| pump.report_snapshot(message.to, SnapshotStatus::Failure)),
        }
    }

    fn step(&mut self) {
        let at = self.rng.pick(NODES);
        if self.nodes[at].alive.is_none() {
            if self.rng.chance(30) {
                self.nodes[at].disk.crash_after(1 + self.rng.below(200));
            } else if self.rng.chance(20) {
                self.nodes[at].files.crash_after(1 + self.rng.below(30));
            }
            if let Err(error) = self.start(at) {
                assert!(self.nodes[at].crash_reached(), "node {}: start: {error}", at + 1);
                self.crash(at);
            }
            return;
        }
        match self.rng.below(100) {
            0..17 => self.with(at, |_, pump| pump.tick().map(drop)),
            17..54 => self.deliver(),
            54..60 => self.behind_a_write(at),
            60..65 => self.read(at),
            65..78 => self.with(at, |engine, _| engine.flush().map_err(Error::from)),
            78..97 => {
                let data = self.data();
                self.with(at, |_, pump| pump.propose(vec![], data));
            }
            97 => self.crash(at),
            98 if self.rng.chance(30) => self.nodes[at].files.crash_after(1 + self.rng.below(30)),
            98 => self.nodes[at].disk.crash_after(1 + self.rng.below(60)),
            _ => self.with(at, |_, pump| pump.campaign()),
        }
    }

    /// What is proposed next, which nothing else is. At times it is larger than a group of records, which then is
    /// written apart from what comes before it.
    fn data(&mut self) -> Vec<u8> {
        let bytes = if self.rng.chance(10) { 5000 } else { self.rng.pick(600) };
        self.proposed += 1;
        [&vec![0; bytes][..], &self.proposed.to_le_bytes()].concat()
    }

    /// What is to be read for others is.
    fn read(&mut self, at: usize) {
        let mut read = 0;
        self.with(at, |_, pump| {
            let before = pump.host().sent.len();
            // Whoever waits reads; with no time to wait it does nothing else.
            _ = pump.wait(Duration::ZERO)?;
            read = pump.host().sent[before..].iter().filter(|message| !message.entries.is_empty()).count();
            Ok(())
        });
        self.fetched += read as u64;
    }

    /// Messages come while the log writes something: what they bring is in flight when that is durable.
    fn behind_a_write(&mut self, at: usize) {
        let here = |message: &Message| message.to == at as u64 + 1;
        let count = 1 + self.rng.pick(3);
        let mut messages = Vec::new();
        while let Some(next) = self.network.iter().position(here).filter(|_| messages.len() < count) {
            messages.push(self.network.remove(next));
        }
        let data = self.data();
        self.with(at, |engine, pump| {
            let mut batch = WriteBatch::new();
            let index = engine.group(OTHER).last_index() + 1;
            batch.append(OTHER, &[EntryRef { index, term: 1, payload: b"waited for" }]);
            batch.compact(OTHER, index);
            let ticket = engine.write(&mut batch)?;
            for message in messages {
                match pump.step(message) {
                    Err(Error::Core(_)) | Ok(()) => _ = pump.poll()?,
                    Err(error) => return Err(error),
                }
            }
            if pump.raft().state == StateRole::Leader {
                pump.propose(vec![], data)?;
                _ = pump.poll()?;
            }
            ticket.wait().map_err(seawall::Error::from)?;
            Ok(())
        });
        // What is in flight is lost with the power, and must not have been acknowledged.
        if self.rng.chance(20) {
            self.crash(at);
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
            self.lost(&message);
            return;
        }
        if self.rng.chance(5) {
            self.network.push(message.clone());
        }
        self.pass_on(message);
    }

    fn pass_on(&mut self, message: Message) {
        let to = usize::try_from(message.to - 1).unwrap();
        if self.nodes[to].alive.is_none() {
            self.lost(&message);
        }
        self.with(to, |_, pump| pump.step(message));
    }

    /// A transport says of snapshots that they did not arrive.
    fn lost(&mut self, message: &Message) {
        if message.get_msg_type() == MessageType::MsgSnapshot {
            let (from, to) = (usize::try_from(message.from - 1).unwrap(), message.to);
            self.with(from, |_, pump| pump.report_snapshot(to, SnapshotStatus::Failure));
        }
    }

    /// No more faults: the nodes must agree, and have everything that was ever applied.
    fn settle(&mut self) {
        for at in 0..NODES {
            if self.nodes[at].crash_reached() || self.nodes[at].alive.is_some() {
                self.crash(at);
            }
            self.nodes[at].remembered = State::default();
            self.start(at).unwrap();
        }
        let last = self.history.keys().next_back().copied().unwrap_or(0);
        for round in 0.. {
            assert!(round < 3000, "the nodes do not come to an agreement");
            // Timeouts that are the same each time may keep those from being elected who can be.
            if self.rng.chance(3) {
                let at = self.rng.pick(NODES);
                self.with(at, |_, pump| pump.campaign());
            }
            for at in 0..NODES {
                self.with(at, |_, pump| pump.tick().map(drop));
                self.read(at);
                self.with(at, |engine, _| engine.flush().map_err(Error::from));
            }
            for message in std::mem::take(&mut self.network) {
                self.pass_on(message);
            }
            let applied = self.nodes.iter().map(|node| node.alive.as_ref().unwrap().pump.applied());
            let (low, high) = (applied.clone().min().unwrap(), applied.max().unwrap());
            if low == high && low > last {
                return;
            }
        }
    }
}

/// The snapshots of a node, every few entries.
fn open(
    engine: &Engine,
    files: &Arc<SimDisk>,
    applied: u64,
    rng: &mut Rng,
) -> Result<(Snapshots, Start), seawall::snapshots::Error> {
    let keep = 1 + u32::try_from(rng.below(3)).unwrap();
    let options =
        snap::Options { keep, helpers: 0, chunk_bytes: 4096, sync_bytes: 64 << 10, ..Default::default() };
    let (catalog, _) = Catalog::open(files.process(), &options)?;
    let (entries, catch_up_entries) = (1 + rng.below(8), rng.below(3));
    let options = SnapshotOptions { entries, catch_up_entries, background: false, ..Default::default() };
    Snapshots::open(engine, GROUP, &catalog, options, applied)
}

fn run(seed: u64) -> [u64; 5] {
    let mut run = Run::new(seed);
    for _ in 0..1500 {
        run.step();
    }
    run.settle();
    [run.history.len() as u64, run.crashes, run.taken, run.restored, run.fetched]
}

#[test]
fn nodes_agree_whatever_crashes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    if let Some(seed) = number("SEAWALL_SEED") {
        run(seed);
        return;
    }
    assert_eq!(run(0), run(0), "a seed is one history");
    let random = number("SEAWALL_RUNS");
    let mut sums = [0; 5];
    for n in 0..random.unwrap_or(150) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        let counts = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("repeat with SEAWALL_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [entries, crashes, taken, restored, fetched] = sums;
    let text = format!(
        "{entries} entries, {crashes} crashes, {taken} snapshots, {restored} installed, {fetched} reads beside"
    );
    println!("{text}");
    let enough = entries > 1000 && crashes > 1000 && taken > 300 && restored > 30 && fetched > 100;
    assert!(random.is_some() || enough, "{text}");
}
