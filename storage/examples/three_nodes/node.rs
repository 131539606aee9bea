//! One node: a thread that owns a pump and waits for messages, proposals, ticks and the log's wake-ups.
//! This is the loop of a Raft node; the rest of the example is what surrounds it.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use seawall::raft_rs::{GroupStorage, Host, HostError, Pump, PumpOptions, raft};
use seawall::{ConfState, Engine, Group, Options};

use raft::eraftpb::{Entry, Message};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const GROUP: u64 = 1;
const TICK: Duration = Duration::from_millis(50);
pub(crate) const NODES: usize = 3;

/// What a node's thread is told.
pub(crate) enum Event {
    Message(Message),
    /// Propose the numbers of the range.
    Propose(std::ops::Range<u64>),
    /// Something became durable.
    Wake,
    /// End: cleanly, or as a kill would.
    Stop {
        close: bool,
    },
}

/// What everyone sees: the way to each node, and how far it is.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) senders: [Mutex<Option<Sender<Event>>>; NODES],
    pub(crate) applied: [AtomicU64; NODES],
    pub(crate) leads: [AtomicBool; NODES],
}

impl Net {
    /// Messages to a node that is down are lost.
    pub(crate) fn send(&self, node: usize, event: Event) {
        let sender = self.senders[node].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            let _ = sender.send(event);
        }
    }
}

/// Network and state machine of one node. The state machine takes number n only behind n - 1, so that
/// numbers which are proposed again after a change of the leader count once.
struct Node {
    at: usize,
    net: Arc<Net>,
    numbers: u64,
    digest: u64,
}

impl Host for Node {
    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = usize::try_from(message.to - 1).unwrap_or(0);
            self.net.send(to, Event::Message(message));
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

    fn role_changed(&mut self, role: &raft::SoftState) {
        self.net.leads[self.at].store(role.raft_state == raft::StateRole::Leader, SeqCst);
    }
}

/// What a node says when it ends.
pub(crate) struct Ended {
    pub(crate) numbers: u64,
    pub(crate) digest: u64,
    pub(crate) applied: u64,
    pub(crate) log: Vec<seawall::Entry>,
}

pub(crate) fn run(at: usize, dir: &Path, net: &Arc<Net>, events: &Receiver<Event>) -> Outcome<Ended> {
    let options = Options::default();
    let engine = if dir.exists() { Engine::open(dir, &options)?.0 } else { Engine::create(dir, &options)? };
    let store = GroupStorage::new(&engine, GROUP);
    if store.group().conf_state().is_none() {
        store.bootstrap(&ConfState { voters: vec![1, 2, 3], ..ConfState::default() })?;
    }
    let own = Arc::clone(net);
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || own.send(at, Event::Wake));
    let mut config = raft::Config::new(at as u64 + 1);
    (config.max_size_per_msg, config.max_committed_size_per_ready) = (1 << 20, 1 << 20);
    let host = Node { at, net: Arc::clone(net), numbers: 0, digest: 0 };
    let pump_options = PumpOptions { wake: Some(wake), ..PumpOptions::default() };
    let mut pump = Pump::new(&engine, GROUP, &config, host, pump_options)?;
    let mut next_tick = Instant::now() + TICK;
    loop {
        let first = match events.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err("the network is gone".into()),
        };
        // Everything that waits, so that many messages share a Ready and a record.
        for event in first.into_iter().chain(events.try_iter().take(1000)) {
            match event {
                // A message that the core does not want is lost, like a proposal to a node that follows.
                Event::Message(message) => drop(pump.step(message)),
                Event::Propose(numbers) => numbers.for_each(|number| {
                    let _ = pump.propose(vec![], number.to_le_bytes().to_vec());
                }),
                Event::Wake => {}
                Event::Stop { close } => {
                    let applied = pump.applied();
                    let log = if close { read(&engine.group(GROUP))? } else { Vec::new() };
                    let Node { numbers, digest, .. } = pump.into_host();
                    if close {
                        engine.close()?;
                    }
                    return Ok(Ended { numbers, digest, applied, log });
                }
            }
        }
        if Instant::now() >= next_tick {
            next_tick = Instant::now() + TICK;
            pump.tick()?;
        }
        while pump.poll()? {}
    }
}

fn read(group: &Group) -> Result<Vec<seawall::Entry>, seawall::Error> {
    group.entries(group.first_index(), group.last_index() + 1, None)
}
