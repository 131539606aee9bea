//! Provides node 1 of three, on simulated disks that write only when they are told to, and the messages and
//! snapshots of a leader.

use std::io::Read;
use std::sync::Arc;

use raft::Config;
use raft::eraftpb::{Entry, Message, MessageType};
use seawall::raft_rs::{GroupStorage, Host, HostError, Pump, PumpOptions};
use seawall::snapshots::snap::{Catalog, Offer, Piece, SnapshotId, SnapshotReader};
use seawall::snapshots::{Error as SnapshotsError, SnapshotOptions, SnapshotSource, Snapshots, Taken};
use seawall::{ConfState, Engine, Options};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

use crate::support::{self, GROUP, SETUP, id, sim, state};

#[derive(Default)]
pub struct Machine {
    pub sent: Vec<Message>,
    pub applied: Vec<u64>,
    pub restored: Vec<u64>,
    pub offered: Vec<(Offer, Message)>,
    pub outcomes: Vec<Result<Taken, SnapshotsError>>,
    pub no_dump: bool,
    pub refused: Vec<(u64, SnapshotId)>,
}

impl Host for Machine {
    fn send(&mut self, messages: Vec<Message>) {
        self.sent.extend(messages);
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        self.applied.extend(entries.iter().map(|entry| entry.index));
        Ok(())
    }

    fn snapshot_source(&mut self, applied: u64) -> Option<SnapshotSource> {
        (!self.no_dump).then(|| support::dump(applied))
    }

    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), HostError> {
        let mut found = Vec::new();
        snapshot.read_to_end(&mut found)?;
        assert!(found == state(snapshot.id().index));
        self.restored.push(snapshot.id().index);
        Ok(())
    }

    fn snapshot_offered(&mut self, offer: &Offer, message: Message) {
        self.offered.push((*offer, message));
    }

    fn snapshot_refused(&mut self, from: u64, snapshot: SnapshotId) {
        self.refused.push((from, snapshot));
    }

    fn snapshot_taken(&mut self, outcome: &Result<Taken, SnapshotsError>) {
        self.outcomes.push(outcome.clone());
    }
}

impl Machine {
    /// Returns kind and index of the messages sent since the last call.
    pub fn take(&mut self) -> Vec<(MessageType, u64)> {
        self.sent.drain(..).map(|m| (m.get_msg_type(), m.index)).collect()
    }
}

/// Node 1 of three. Its log is on one disk, its snapshots are on another.
pub struct Node {
    pub disks: [Arc<SimDisk>; 2],
    pub engine: Engine,
    pub snapshots: Snapshots,
    pub pump: Pump<Machine>,
}

pub const ACK: MessageType = MessageType::MsgAppendResponse;

impl Node {
    pub fn new(options: SnapshotOptions) -> Node {
        let disks = [SimDisk::new(1, SimOptions::default()), sim(2)];
        Node::open(disks, options, Threads::Stepped)
    }

    pub fn open(disks: [Arc<SimDisk>; 2], options: SnapshotOptions, threads: Threads) -> Node {
        let mut log = Options::default();
        log.log.segment_bytes = 256 << 10;
        let env = Env {
            disk: disks[0].process(),
            clock: Arc::new(SimClock::new()),
            random: Arc::new(SimRandom::new(1)),
            threads,
        };
        let engine = if disks[0].exists("IDENTITY") {
            Engine::open_in(env, &log).unwrap().0
        } else {
            Engine::create_in(env, &log).unwrap()
        };
        let store = GroupStorage::new(&engine, GROUP);
        if store.group().conf_state().is_none() {
            store.bootstrap(&ConfState { voters: vec![1, 2, 3], ..ConfState::default() }).unwrap();
        }
        let (catalog, _) = Catalog::open(disks[1].process(), &SETUP.catalog()).unwrap();
        let (snapshots, start) = Snapshots::open(&engine, GROUP, &catalog, options, 0).unwrap();
        let mut machine = Machine::default();
        if let Some(mut reader) = start.reader {
            machine.restore(&mut reader).unwrap();
        }
        let applied = start.applied;
        let config = Config { applied, max_size_per_msg: 1 << 20, check_quorum: true, ..Config::new(1) };
        let options = PumpOptions::default().with_snapshots(Some(snapshots.clone()));
        let pump = Pump::new(&engine, GROUP, &config, machine, options).unwrap();
        Node { disks, engine, snapshots, pump }
    }

    /// Cuts the power and opens the node again.
    pub fn crash(self) -> Node {
        let Node { disks, engine, snapshots, pump } = self;
        drop((pump, snapshots, engine));
        disks.iter().for_each(|disk| disk.crash());
        Node::open(disks, lazy(), Threads::Stepped)
    }

    pub fn poll(&mut self) -> &mut Machine {
        _ = self.pump.poll().unwrap();
        self.pump.host_mut()
    }

    pub fn flush(&mut self) -> &mut Machine {
        self.poll();
        self.engine.flush().unwrap();
        self.poll()
    }

    /// Receives a leader's snapshot: its message, the pieces, and the message again.
    pub fn receive(&mut self, (leaders, pieces): (Message, Vec<Piece>)) {
        self.pump.step(leaders).unwrap();
        let again = self.fetch(&pieces);
        self.pump.step(again).unwrap();
    }

    /// Does what a transport does after `snapshot_offered`, and returns the message to step again.
    pub fn fetch(&mut self, pieces: &[Piece]) -> Message {
        let (offer, message) = self.pump.host_mut().offered.pop().expect("offered");
        let mut incoming = self.snapshots.receive(&offer).unwrap().expect("not here");
        pieces.iter().for_each(|piece| incoming.accept(piece).unwrap());
        incoming.finish().unwrap();
        message
    }
}

/// Returns options with which no snapshot is due by entries or bytes.
pub fn lazy() -> SnapshotOptions {
    SETUP.snapshots().with_entries(u64::MAX).with_bytes(u64::MAX)
}

/// Returns a leader's message with its snapshot at `index`, and the pieces of the snapshot.
pub fn snapshot(index: u64, term: u64) -> (Message, Vec<Piece>) {
    let node = SETUP.open(&sim(0)).unwrap();
    node.append(index, term, index).unwrap();
    node.take(index).unwrap();
    let store = GroupStorage::new(&node.engine, GROUP).with_snapshots(node.snapshots.clone());
    let mut message = message(MessageType::MsgSnapshot, term);
    message.set_snapshot(raft::Storage::snapshot(&store, index, 1).unwrap());
    let export = node.catalog.export(id(index, term)).unwrap();
    let pieces = export.pieces(0).unwrap().map(Result::unwrap).collect();
    (message, pieces)
}

pub fn message(kind: MessageType, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (2, 1, term);
    message
}

/// Returns an append of entries `first..=last` of `term` after an entry of term `before`, with a commit
/// index.
pub fn appends(term: u64, before: u64, first: u64, last: u64, commit: u64) -> Message {
    let mut append = message(MessageType::MsgAppend, term);
    (append.index, append.log_term, append.commit) = (first - 1, before, commit);
    for index in first..=last {
        append.mut_entries().push(Entry { index, term, data: vec![7; 50].into(), ..Entry::default() });
    }
    append
}
