//! Provides node 1 of a group, on a simulated disk that writes only when it is told to, and the messages of a
//! peer.

use std::sync::Arc;

use raft::Config;
use raft::eraftpb::{Entry, Message, MessageType};
use seawall::raft_rs::{Error, GroupStorage, Host, HostError, Pump, PumpOptions};
use seawall::{ConfState, Engine, EntryRef, Options, Ticket, WriteBatch};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

pub const GROUP: u64 = 1;

#[derive(Default)]
pub struct Node {
    pub sent: Vec<Message>,
    pub applied: Vec<Entry>,
    /// Bytes of data in each call of `apply`.
    pub bytes: Vec<usize>,
    pub members: Vec<u64>,
    /// Sender and error of each append that was refused.
    pub refused: Vec<(u64, String)>,
    pub reads: Vec<raft::ReadState>,
    pub fail: bool,
    pub judged: Vec<u64>,
    pub refuse_changes: bool,
}

impl Host for Node {
    fn send(&mut self, messages: Vec<Message>) {
        self.sent.extend(messages);
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        if self.fail {
            return Err("no".into());
        }
        self.applied.extend_from_slice(entries);
        self.bytes.push(entries.iter().map(|entry| entry.data.len()).sum());
        Ok(())
    }

    fn allow_change(&mut self, index: u64, _: &raft::eraftpb::ConfChangeV2) -> bool {
        self.judged.push(index);
        !self.refuse_changes
    }

    fn read_states(&mut self, states: Vec<raft::ReadState>) {
        self.reads.extend(states);
    }

    fn members_changed(&mut self, index: u64, _: &raft::eraftpb::ConfState) {
        self.members.push(index);
    }

    fn append_refused(&mut self, from: u64, why: &Error) {
        self.refused.push((from, why.to_string()));
    }
}

impl Node {
    /// Returns kind and index of the messages sent since the last call.
    pub fn take(&mut self) -> Vec<(MessageType, u64)> {
        self.sent.drain(..).map(|m| (m.get_msg_type(), m.index)).collect()
    }
}

pub fn options() -> Options {
    let mut options = Options::default().with_compression(None);
    options.log.segment_bytes = 256 << 10;
    // A larger record gets a write group of its own, and so its own write.
    options.log.group_bytes = 4096;
    options
}

pub fn env(disk: &Arc<SimDisk>) -> Env {
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(1)));
    Env { disk: disk.process(), clock, random, threads: Threads::Stepped }
}

/// Creates node 1 of `voters` on a disk that writes when the engine is flushed.
pub fn start(voters: &[u64]) -> (Arc<SimDisk>, Engine, Pump<Node>) {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(env(&disk), &options()).unwrap();
    let conf = ConfState { voters: voters.to_vec(), ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let pump = pump(&engine, 0).unwrap();
    (disk, engine, pump)
}

pub fn pump(engine: &Engine, applied: u64) -> Result<Pump<Node>, Error> {
    let config = Config { applied, max_size_per_msg: 1 << 20, ..Config::new(1) };
    Pump::new(engine, GROUP, &config, Node::default(), PumpOptions::default())
}

pub fn reopen(disk: &Arc<SimDisk>, applied: u64) -> (Engine, Result<Pump<Node>, Error>) {
    let (engine, _) = Engine::open_in(env(disk), &options()).unwrap();
    let pump = pump(&engine, applied);
    (engine, pump)
}

pub fn message(kind: MessageType, from: u64, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, 1, term);
    message
}

/// Returns an append of entries `first..=last` of `term` with `bytes` of data each, after an entry of term
/// `before`.
pub fn appends(term: u64, before: u64, first: u64, last: u64, bytes: usize) -> Message {
    let mut append = message(MessageType::MsgAppend, 2, term);
    (append.index, append.log_term) = (first - 1, before);
    for index in first..=last {
        let mut entry = Entry { index, term, ..Entry::default() };
        entry.data = vec![7; bytes].into();
        append.mut_entries().push(entry);
    }
    append
}

/// Writes an entry of another group. Waiting for it makes everything before it durable, and nothing else.
pub fn barrier(engine: &Engine) -> Ticket {
    let mut batch = WriteBatch::new();
    let index = engine.group(9).last_index() + 1;
    batch.append(9, &[EntryRef { index, term: 1, payload: b"barrier" }]);
    engine.write(&mut batch).unwrap()
}

pub const ACK: MessageType = MessageType::MsgAppendResponse;

pub fn settle(engine: &Engine, pump: &mut Pump<Node>) {
    loop {
        engine.flush().unwrap();
        // With threads, a flush may return before the callbacks of its tickets have run.
        if pump.wait(std::time::Duration::from_millis(5)).unwrap().is_idle() && pump.in_flight() == 0 {
            return;
        }
    }
}
