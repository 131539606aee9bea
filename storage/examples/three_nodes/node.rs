//! Runs one node: a thread that owns a pump and handles messages, proposals, ticks and wake-ups of the log.
//!
//! This is the main loop of a Raft node; the other files of the example support it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use seawall::raft_rs::{GroupStorage, Host, HostError, Outcome, Pump, PumpOptions, Wake, raft};
use seawall::snapshots::snap::{self, Catalog, Offer, SnapshotReader};
use seawall::snapshots::{SnapshotOptions, SnapshotSource, Snapshots};
use seawall::{ConfState, Engine, Group, Options, Owner};

use raft::eraftpb::{Entry, Message, MessageType};

use crate::net::{self, Event, Net};
use crate::transfer;

const GROUP: u64 = 1;
const TICK: Duration = Duration::from_millis(50);

/// Network and state machine of one node. The state machine accepts number n only after n - 1, so that
/// numbers which are proposed again after a change of leader count once.
struct Node {
    at: usize,
    net: Arc<Net>,
    numbers: u64,
    digest: u64,
    snapshots: Option<Snapshots>,
    /// Indexes of the snapshots received from a peer.
    restored: Vec<u64>,
    fetching: Vec<JoinHandle<()>>,
}

impl Node {
    fn load(&mut self, snapshot: &mut SnapshotReader) -> Result<(), HostError> {
        let (mut numbers, mut digest) = ([0; 8], [0; 8]);
        snapshot.read_exact(&mut numbers)?;
        snapshot.read_exact(&mut digest)?;
        if snapshot.read(&mut [0])? != 0 {
            return Err("the snapshot is too long".into());
        }
        (self.numbers, self.digest) = (u64::from_le_bytes(numbers), u64::from_le_bytes(digest));
        self.net.applied[self.at].store(self.numbers, SeqCst);
        Ok(())
    }
}

impl Host for Node {
    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let (peer, to) = (message.to, usize::try_from(message.to - 1).unwrap_or(0));
            let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
            if !self.net.send(to, Event::Message(message)) && snapshot {
                // The core sends nothing else to that peer until it gets this report.
                self.net.send(self.at, Event::SnapshotLost { peer });
            }
        }
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        for entry in entries {
            if entry.data[..] == self.numbers.to_le_bytes() {
                self.numbers += 1;
                self.digest = (self.digest ^ entry.index).wrapping_mul(0x100_0000_01b3);
            }
        }
        self.net.applied[self.at].store(self.numbers, SeqCst);
        Ok(())
    }

    fn snapshot_source(&mut self, _: u64) -> Option<SnapshotSource> {
        let state = [self.numbers.to_le_bytes(), self.digest.to_le_bytes()].concat();
        Some(Box::new(move |to| to.write_all(&state)))
    }

    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), HostError> {
        self.restored.push(snapshot.id().index);
        self.load(snapshot)
    }

    fn snapshot_offered(&mut self, offer: &Offer, message: Message) {
        let Some(own) = self.snapshots.clone() else { return };
        let (net, offer, at) = (Arc::clone(&self.net), *offer, self.at);
        self.fetching.push(thread::spawn(move || transfer::fetch(&net, at, &own, &offer, message)));
    }

    fn role_changed(&mut self, role: &raft::SoftState) {
        self.net.leads[self.at].store(role.raft_state == raft::StateRole::Leader, SeqCst);
    }
}

/// Final state of a node.
pub(crate) struct Ended {
    pub(crate) numbers: u64,
    pub(crate) digest: u64,
    pub(crate) applied: u64,
    pub(crate) log: Vec<seawall::Entry>,
    /// Index and term of the last entry of the log, even if it is compacted.
    pub(crate) last: (u64, u64),
    /// Index of the compaction point, and indexes of the snapshots received from a peer.
    pub(crate) point: u64,
    pub(crate) restored: Vec<u64>,
}

/// Opens the node's snapshots, in a folder next to its log. Also returns the snapshot to start from.
fn snapshots(
    engine: &Engine,
    dir: &Path,
    every: u64,
) -> net::Outcome<(Snapshots, seawall::snapshots::Start)> {
    let dir = dir.with_extension("snapshots");
    let (deadline, small) = (Instant::now() + Duration::from_secs(10), snap::Options::default());
    let (catalog, _) = loop {
        match Catalog::open_dir(&dir, &small) {
            // A peer may still fetch from the previous life of the node.
            Err(snap::Error::Locked { .. }) if Instant::now() < deadline => thread::sleep(TICK),
            opened => break opened?,
        }
    };
    let options = SnapshotOptions::default().with_entries(every).with_catch_up_entries(every / 2);
    Ok(Snapshots::open(engine, GROUP, &catalog, options, 0)?)
}

/// Runs a node until it is told to stop. It takes a snapshot every `every` entries, none if that is `None`.
pub(crate) fn run(
    at: usize,
    dir: &Path,
    every: Option<u64>,
    net: &Arc<Net>,
    events: &Receiver<Event>,
) -> net::Outcome<Ended> {
    // Opening the directory of another node fails.
    let owner = Some(Owner { cluster: 1, node: at as u64 + 1, user: Vec::new() });
    let options = Options::default().with_owner(owner);
    let engine = if dir.exists() { Engine::open(dir, &options)?.0 } else { Engine::create(dir, &options)? };
    let store = GroupStorage::new(&engine, GROUP);
    if store.group().conf_state().is_none() {
        store.bootstrap(&ConfState { voters: vec![1, 2, 3], ..ConfState::default() })?;
    }
    let own = Arc::clone(net);
    let wake = Wake::Call(Arc::new(move || _ = own.send(at, Event::Wake)));
    let (numbers, digest) = (0, 0);
    let (net, restored, fetching) = (Arc::clone(net), Vec::new(), Vec::new());
    let mut host = Node { at, net, numbers, digest, snapshots: None, restored, fetching };
    let mut config = raft::Config::new(at as u64 + 1);
    if let Some(every) = every {
        let (snapshots, start) = snapshots(&engine, dir, every)?;
        if let Some(mut reader) = start.reader {
            host.load(&mut reader)?;
        }
        config.applied = start.applied;
        host.net.publish(at, Some(snapshots.clone()));
        host.snapshots = Some(snapshots);
    }
    (config.max_size_per_msg, config.max_committed_size_per_ready) = (1 << 20, 1 << 20);
    let snapshots = host.snapshots.clone();
    let pump_options = PumpOptions::default().with_wake(Some(wake)).with_snapshots(snapshots);
    let mut pump = Pump::new(&engine, GROUP, &config, host, pump_options)?;
    let mut next_tick = Instant::now() + TICK;
    loop {
        let first = match events.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err("the network is gone".into()),
        };
        // Handle all waiting events first, so that many messages share a Ready and a record.
        for event in first.into_iter().chain(events.try_iter().take(1000)) {
            match event {
                // A message that the core refuses is dropped, like a proposal to a follower.
                Event::Message(message) => drop(pump.step(message)),
                Event::Propose(numbers) => numbers.for_each(|number| {
                    let _ = pump.propose(vec![], number.to_le_bytes().to_vec());
                }),
                Event::SnapshotLost { peer } => {
                    pump.report_snapshot(peer, raft::SnapshotStatus::Failure)?;
                }
                Event::Wake => {}
                Event::Stop { close } => {
                    let applied = pump.applied();
                    let Node { numbers, digest, restored, fetching, net, snapshots, .. } = pump.into_host();
                    net.publish(at, None);
                    drop(snapshots);
                    fetching.into_iter().for_each(|thread| drop(thread.join()));
                    let group = engine.group(GROUP);
                    let (log, point) = if close { read(&group)? } else { (Vec::new(), 0) };
                    let last = (group.last_index(), group.term(group.last_index())?);
                    if close {
                        engine.close()?;
                    }
                    return Ok(Ended { numbers, digest, applied, log, last, point, restored });
                }
            }
        }
        if Instant::now() >= next_tick {
            next_tick = Instant::now() + TICK;
            // The core's clock stops while the disk is full. The pump continues at the next tick or earlier.
            if let Outcome::Stalled(full) = pump.tick()? {
                eprintln!("node-{}: waiting for room: {full}", at + 1);
            }
        }
        // Poll until there is no more work or the disk is full. An error ends this node.
        while pump.poll()?.is_worked() {}
        pump.host().net.first[at].store(store.group().first_index(), SeqCst);
    }
}

/// Reads the log. Also returns the index of its compaction point.
fn read(group: &Group) -> Result<(Vec<seawall::Entry>, u64), seawall::Error> {
    let point = group.compaction_point().0;
    Ok((group.entries(point + 1, group.last_index() + 1, None)?, point))
}
