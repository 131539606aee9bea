//! Simulates the nodes and their disks, chooses each step of a run, and checks what the nodes do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::{self, Message};
use raft::{Config, StateRole};
use seawall::raft_rs::{Error, GroupStorage, Pump, PumpOptions, slog};
use seawall::snapshots::snap::{self, Catalog};
use seawall::snapshots::{SnapshotOptions, Snapshots, Start};
use seawall::{Engine, Options};
use seawall_wal::disk::Mode;
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

use crate::cluster::machine::{Machine, State};
use crate::cluster::setup::Setup;
use crate::random::Rng;

pub const GROUP: u64 = 1;

pub struct Node {
    disk: Arc<SimDisk>,
    /// The disk with its snapshots. Both disks lose power together.
    files: Arc<SimDisk>,
    /// The state that its state machine has on its own disk, sometimes an older one.
    remembered: State,
    pub alive: Option<Alive>,
}

pub struct Alive {
    pub engine: Engine,
    pub pump: Pump<Machine>,
    pub snapshots: Option<Snapshots>,
}

impl Node {
    pub fn crash_reached(&self) -> bool {
        self.disk.crash_reached() || self.files.crash_reached()
    }
}

pub struct Run {
    pub rng: Rng,
    pub setup: Setup,
    pub nodes: Vec<Node>,
    pub network: Vec<Message>,
    /// Whether offers of snapshots are lost unnoticed.
    pub no_snapshots: bool,
    /// Term and data of each index that any node applied.
    pub history: BTreeMap<u64, (u64, Vec<u8>)>,
    /// Hash of the state after each of them.
    states: BTreeMap<u64, u64>,
    /// The leader of each term, and the members after each entry that changed them.
    leaders: BTreeMap<u64, u64>,
    pub members: BTreeMap<u64, eraftpb::ConfState>,
    verdicts: BTreeMap<u64, bool>,
    proposed: u64,
    /// How often things happened.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Run {
    pub fn new(seed: u64, setup: impl FnOnce(&mut Rng) -> Setup) -> Run {
        let mut rng = Rng(seed);
        let setup = setup(&mut rng);
        let mut nodes = Vec::new();
        for _ in 0..setup.nodes {
            let mode = if rng.chance(50) { Mode::Direct } else { Mode::Buffered };
            let options = SimOptions { mode, short_writes: rng.chance(30), ..SimOptions::default() };
            let disk = SimDisk::new(rng.next(), options);
            let files = SimDisk::new(rng.next(), SimOptions { mode: Mode::Buffered, ..options });
            nodes.push(Node { disk, files, remembered: State::default(), alive: None });
        }
        Run {
            rng,
            setup,
            nodes,
            network: Vec::new(),
            no_snapshots: false,
            history: BTreeMap::new(),
            states: BTreeMap::new(),
            leaders: BTreeMap::new(),
            members: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            proposed: 0,
            counts: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str, many: usize) {
        *self.counts.entry(what).or_default() += many as u64;
    }

    /// Opens or creates node `at`. A crash point may interrupt this.
    pub fn start(&mut self, at: usize) -> Result<(), Error> {
        let mut options = Options::default();
        options.log.segment_bytes = 4096 * 24;
        // Sometimes the cache is so small that peers need entries that are no longer in memory.
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
            // A node that is added later may know the founding members, because the log has every change
            // since then.
            let knows = at < self.setup.founders
                || !self.setup.snapshots
                || (self.setup.faults && self.rng.chance(20));
            if knows {
                store.bootstrap(&self.setup.members())?
            } else {
                store.join()?
            }
            *self.counts.entry("joined").or_default() += u64::from(!knows);
        }
        let mut state = node.remembered;
        let snapshots = match self.setup.snapshots {
            true => {
                let files = Arc::clone(&node.files);
                let (snapshots, start) = open(&engine, &files, state.index, self.setup.every, &mut self.rng)?;
                if let Some(mut reader) = start.reader {
                    state = State::load(&mut reader);
                }
                assert_eq!(start.applied, state.index);
                Some(snapshots)
            }
            false => None,
        };
        let known = self.states.get(&state.index).copied();
        assert!(state.index == 0 || known == Some(state.hash), "node {}: no node ever had {state:?}", at + 1);
        // The core draws its timeout at random. With one value to draw from, a seed determines the history.
        let timeout = 10 + self.rng.pick(4) * self.setup.nodes + at;
        let config = Config {
            applied: state.index,
            election_tick: 10,
            min_election_tick: timeout,
            max_election_tick: timeout + 1,
            heartbeat_tick: 2,
            max_size_per_msg: 200 * self.rng.below(4),
            max_inflight_msgs: 4,
            max_committed_size_per_ready: 100,
            pre_vote: self.setup.check_quorum || self.rng.chance(50),
            check_quorum: self.setup.check_quorum,
            ..Config::new(at as u64 + 1)
        };
        let readys_max = 1 + self.rng.pick(8);
        let options = PumpOptions::default()
            .with_readys_max(readys_max)
            .with_async_fetch(self.setup.async_fetch)
            .with_snapshots(snapshots.clone())
            .with_logger(Some(slog::Logger::root(slog::Discard, slog::o!())));
        let machine = Machine { state, lenient: self.setup.lenient, ..Machine::default() };
        let pump = Pump::new(&engine, GROUP, &config, machine, options)?;
        self.nodes[at].alive = Some(Alive { engine, pump, snapshots });
        Ok(())
    }

    pub fn crash(&mut self, at: usize) {
        self.count("crashes", 1);
        self.nodes[at].alive = None;
        self.nodes[at].disk.crash();
        self.nodes[at].files.crash();
    }

    /// Calls `what` with node `at` if it is up, polls its pump, and checks the outcome. A node whose disk
    /// lost power goes down.
    pub fn with(&mut self, at: usize, what: impl FnOnce(&Engine, &mut Pump<Machine>) -> Result<(), Error>) {
        let Node { alive, remembered, .. } = &mut self.nodes[at];
        let Some(Alive { engine, pump, .. }) = alive else { return };
        let mut state = pump.host().state;
        // A refusal concerns only the caller, so the pump is polled as after a success.
        let result = match what(engine, pump) {
            Err(Error::Core(_)) | Ok(()) => pump.poll().map(|_| ()),
            result => result,
        };
        self.network.append(&mut pump.host_mut().sent);
        let (term, leads) = (pump.raft().term, pump.raft().state == StateRole::Leader);
        if leads && result.is_ok() {
            let leader = *self.leaders.entry(term).or_insert(at as u64 + 1);
            assert_eq!(leader, at as u64 + 1, "term {term} has two leaders");
        }
        let host = pump.host_mut();
        *self.counts.entry("snapshots").or_default() += std::mem::take(&mut host.taken);
        for (index, allowed) in host.verdicts.drain(..) {
            let known = *self.verdicts.entry(index).or_insert(allowed);
            assert_eq!(known, allowed, "node {}: another node decided differently on change {index}", at + 1);
        }
        for (index, mut conf) in host.members.drain(..) {
            assert!(self.verdicts.get(&index) != Some(&false), "node {}: change {index} was refused", at + 1);
            sort(&mut conf);
            let known = self.members.entry(index).or_insert_with(|| conf.clone());
            assert_eq!(*known, conf, "node {}: the members after {index} differ", at + 1);
        }
        for found in host.restored.drain(..) {
            *self.counts.entry("installed").or_default() += 1;
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
        let (offered, refused) = (std::mem::take(&mut host.offered), std::mem::take(&mut host.refused));
        if let Err(error) = result {
            assert!(self.nodes[at].crash_reached(), "node {}: {error}", at + 1);
            self.crash(at);
        }
        for (offer, message) in offered {
            self.fetch(at, &offer, message);
        }
        self.count("refused", refused.len());
        for from in refused {
            self.snapshot_failed(from, at as u64 + 1);
        }
    }

    pub fn step(&mut self) {
        let at = self.rng.pick(self.setup.nodes);
        if self.nodes[at].alive.is_none() {
            if !self.setup.calm && self.rng.chance(30) {
                self.nodes[at].disk.crash_after(1 + self.rng.below(200));
            } else if !self.setup.calm && self.rng.chance(20) {
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
            17..21 if self.setup.nodes > self.setup.founders => self.change_members(at),
            17..54 => self.deliver(),
            54..60 => self.deliver_during_a_write(at),
            60..65 => self.read(at),
            65..78 => self.with(at, |engine, _| engine.flush().map_err(Error::from)),
            78..97 => {
                let data = self.data();
                self.with(at, |_, pump| pump.propose(vec![], data));
            }
            97 if self.rng.chance(20) => self.set_aside(at),
            97..99 if self.setup.calm && self.rng.chance(90) => {}
            97 => self.crash(at),
            98 if self.rng.chance(30) => self.nodes[at].files.crash_after(1 + self.rng.below(30)),
            98 => self.nodes[at].disk.crash_after(1 + self.rng.below(60)),
            _ => self.with(at, |_, pump| pump.campaign()),
        }
    }

    /// Returns the data of the next proposal, which differs from all others. Sometimes it is larger than a
    /// write group, and then it is written apart from the records before it.
    pub fn data(&mut self) -> Vec<u8> {
        let bytes = if self.rng.chance(10) { 5000 } else { self.rng.pick(600) };
        self.proposed += 1;
        [&vec![0; bytes][..], &self.proposed.to_le_bytes()].concat()
    }

    /// Makes node `at` read the entries that other nodes need.
    pub fn read(&mut self, at: usize) {
        let mut read = 0;
        self.with(at, |_, pump| {
            let before = pump.host().sent.len();
            // `wait` makes the pending reads; without time to wait it does nothing else.
            _ = pump.wait(Duration::ZERO)?;
            read = pump.host().sent[before..].iter().filter(|message| !message.entries.is_empty()).count();
            Ok(())
        });
        self.count("reads", read);
    }

    /// Sets the served snapshot aside, as after a read that finds it damaged, if the log goes back to another
    /// snapshot.
    fn set_aside(&mut self, at: usize) {
        let Some(Alive { engine, snapshots: Some(snapshots), .. }) = &self.nodes[at].alive else { return };
        let point = engine.group(GROUP).compaction_point().0;
        let others = snapshots.catalog().snapshots(GROUP);
        let Some(served) = snapshots.served() else { return };
        let older = |id: &snap::SnapshotId| id.index < served.index() && id.index >= point;
        let spare = others.iter().any(|id| older(id) && snapshots.catalog().is_verified(*id));
        if (point == 0 || spare) && snapshots.set_aside(served.offer.id()).is_ok() {
            self.count("set aside", 1);
        }
    }

    /// Ticks, reads and flushes on every node, then delivers all messages.
    pub fn round(&mut self) {
        for at in 0..self.setup.nodes {
            self.with(at, |_, pump| pump.tick().map(drop));
            self.read(at);
            self.with(at, |engine, _| engine.flush().map_err(Error::from));
        }
        for message in std::mem::take(&mut self.network) {
            self.pass_on(message);
        }
    }

    /// Stops the faults, and checks that all members agree and have everything that was ever applied. In half
    /// of the runs no node is restarted, so that leaders keep what they know of their peers.
    pub fn settle(&mut self) {
        let again = self.rng.chance(50);
        self.setup.faults = false;
        for at in 0..self.setup.nodes {
            if self.nodes[at].crash_reached() || again {
                self.crash(at);
                self.nodes[at].remembered = State::default();
            }
            self.nodes[at].disk.crash_after(u64::MAX >> 1);
            self.nodes[at].files.crash_after(u64::MAX >> 1);
        }
        let last = self.history.keys().next_back().copied().unwrap_or(0);
        for round in 0.. {
            let members = self.only_members_run();
            // Since the timeouts are fixed, nodes that can be elected may never be. So a random node
            // campaigns, but not while there is a leader, which may need many rounds to find where the logs
            // part.
            if self.leader().is_none() && self.rng.chance(3) {
                let at = self.rng.pick(self.setup.nodes);
                self.with(at, |_, pump| pump.campaign());
            }
            if round % 20 == 0 {
                let leave = !members.voters_outgoing.is_empty();
                self.ask_a_leader(leave);
            }
            self.round();
            let applied = self.applied(&members);
            let (low, high) = (applied.iter().min().unwrap(), applied.iter().max().unwrap());
            if low == high && *low > last && members.voters_outgoing.is_empty() {
                return;
            }
            assert!(round < 3000, "the members do not agree, {last} was applied before:{}", self.standing());
        }
    }
}

/// Sorts the lists of members, whose order the core does not fix.
fn sort(conf: &mut eraftpb::ConfState) {
    for list in [&mut conf.voters, &mut conf.learners, &mut conf.voters_outgoing, &mut conf.learners_next] {
        list.sort_unstable();
    }
}

/// Opens the snapshots of a node, which takes one every few entries.
fn open(
    engine: &Engine,
    files: &Arc<SimDisk>,
    applied: u64,
    every: Option<u64>,
    rng: &mut Rng,
) -> Result<(Snapshots, Start), seawall::snapshots::Error> {
    let keep = 1 + u32::try_from(rng.below(3)).unwrap();
    let options = snap::Options::default()
        .with_keep(keep)
        .with_helpers(0)
        .with_chunk_bytes(4096)
        .with_sync_bytes(64 << 10);
    let (catalog, _) = Catalog::open(files.process(), &options)?;
    let (random, catch_up_entries) = (1 + rng.below(8), rng.below(3));
    let entries = every.unwrap_or(random);
    let options = SnapshotOptions::default()
        .with_entries(entries)
        .with_catch_up_entries(catch_up_entries)
        .with_background(false);
    Snapshots::open(engine, GROUP, &catalog, options, applied)
}
