//! Tests that a leader reads the entries for a lagging peer outside of its own thread, and gives them to the
//! core only if the core still needs them.

mod gate;

use std::sync::Arc;
use std::time::Duration;

use gate::gated;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{Config, StateRole};
use seawall::raft_rs::{Error, GroupStorage, Host, HostError, Outcome, Pump, PumpOptions};
use seawall::{ConfState, Engine, EntryRef, HardState, Options, WriteBatch};
use seawall_wal::disk::Disk;
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

const GROUP: u64 = 1;
/// Number of entries of term 1 in the log, and the size of their data in bytes; together they take several
/// segments.
const LAST: u64 = 120;
const BYTES: usize = 5000;

#[derive(Default)]
struct Node {
    sent: Vec<Message>,
    applied: Vec<Entry>,
}

impl Host for Node {
    fn send(&mut self, messages: Vec<Message>) {
        self.sent.extend(messages);
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        self.applied.extend_from_slice(entries);
        Ok(())
    }
}

impl Node {
    /// Returns index and term of the entries sent to node 2 since the last call.
    fn taken(&mut self) -> Vec<(u64, u64)> {
        let to = |message: &Message| message.to == 2 && message.get_msg_type() == MessageType::MsgAppend;
        let sent = std::mem::take(&mut self.sent);
        let entries = sent.iter().filter(|message| to(message)).flat_map(|message| &message.entries);
        entries.map(|entry| (entry.index, entry.term)).collect()
    }
}

fn options() -> Options {
    let mut options = Options::default().with_compression(None);
    options.log.segment_bytes = 256 << 10;
    options
}

fn env(disk: Arc<dyn Disk>, threads: Threads) -> Env {
    Env { disk, clock: Arc::new(SimClock::new()), random: Arc::new(SimRandom::new(1)), threads }
}

fn config(id: u64, applied: u64) -> Config {
    // A message has room for 20 entries.
    Config { applied, max_size_per_msg: 100 << 10, max_inflight_msgs: 2, ..Config::new(id) }
}

/// Creates a log with all entries, of which `commit` are committed, and closes it, so that memory has none of
/// them.
fn filled(commit: u64) -> Arc<SimDisk> {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(env(disk.process(), Threads::Stepped), &options()).unwrap();
    let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let mut batch = WriteBatch::new();
    // Two bytes for no flags and no context, then the data.
    let payload = vec![0; BYTES];
    for index in 1..=LAST {
        batch.append(GROUP, &[EntryRef { index, term: 1, payload: &payload }]);
        drop(engine.write(&mut batch).unwrap());
    }
    batch.hard_state(GROUP, HardState { term: 1, vote: 1, commit });
    drop(engine.write(&mut batch).unwrap());
    engine.close().unwrap();
    disk
}

fn open(disk: Arc<dyn Disk>, threads: Threads, applied: u64) -> (Engine, Pump<Node>) {
    let (engine, _) = Engine::open_in(env(disk, threads), &options()).unwrap();
    assert!(engine.stats().unwrap().segments.1 > 2, "entries are in sealed segments");
    let pump = Pump::new(&engine, GROUP, &config(1, applied), Node::default(), PumpOptions::default());
    (engine, pump.unwrap())
}

fn message(kind: MessageType, from: u64, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, 1, term);
    message
}

/// Waits until everything in flight is durable and the core knows it.
fn settle(engine: &Engine, pump: &mut Pump<Node>) {
    while pump.poll().unwrap().is_worked() || pump.in_flight() > 0 {
        engine.flush().unwrap();
        _ = pump.wait(Duration::from_millis(5)).unwrap();
    }
}

/// Makes node 1 the leader of its next term, with the vote of node 3.
fn lead(engine: &Engine, pump: &mut Pump<Node>) {
    pump.campaign().unwrap();
    _ = pump.poll().unwrap();
    settle(engine, pump);
    let vote = message(MessageType::MsgRequestVoteResponse, 3, pump.raft().term);
    pump.step(vote).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.raft().state, StateRole::Leader);
    settle(engine, pump);
    pump.host_mut().sent.clear();
}

/// Reports to the pump that node 2 lacks the entries after `has`.
fn lacks(pump: &mut Pump<Node>, has: u64) {
    let next = pump.raft().prs().get(2).unwrap().next_idx;
    let mut reject = message(MessageType::MsgAppendResponse, 2, pump.raft().term);
    (reject.reject, reject.index, reject.reject_hint, reject.log_term) = (true, next - 1, has, 1);
    pump.step(reject).unwrap();
    _ = pump.poll().unwrap();
}

#[test]
fn a_follower_far_behind_gets_what_only_sealed_segments_have() {
    let (gate, disk) = gated(&filled(LAST));
    let (engine, mut pump) = open(disk, Threads::Stepped, LAST);
    lead(&engine, &mut pump);
    let far = SimDisk::new(2, SimOptions::default());
    let second = Engine::create_in(env(far.process(), Threads::Stepped), &options()).unwrap();
    let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    GroupStorage::new(&second, GROUP).bootstrap(&conf).unwrap();
    let mut follower =
        Pump::new(&second, GROUP, &config(2, 0), Node::default(), PumpOptions::default()).unwrap();
    let (mut rounds, mut reads) = (0, 0);
    while follower.applied() < LAST + 1 {
        rounds += 1;
        assert!(rounds < 100, "{} entries arrived", follower.raft().raft_log.last_index());
        let before = gate.reads();
        _ = pump.tick().unwrap();
        _ = pump.poll().unwrap();
        for answer in std::mem::take(&mut follower.host_mut().sent) {
            pump.step(answer).unwrap();
            _ = pump.poll().unwrap();
        }
        assert_eq!(gate.reads(), before, "neither a step nor a poll reads");
        _ = pump.wait(Duration::ZERO).unwrap();
        reads += gate.reads() - before;
        for sent in std::mem::take(&mut pump.host_mut().sent) {
            if sent.to == 2 {
                follower.step(sent).unwrap();
                _ = follower.poll().unwrap();
            }
        }
        settle(&second, &mut follower);
    }
    assert!(reads > 1, "{reads} reads");
    let data = vec![0; BYTES - 2];
    let applied = &follower.host().applied;
    assert!((1..).zip(&applied[..120]).all(|(index, entry)| entry.index == index && entry.data == data));
}

#[test]
fn a_disk_that_does_not_answer_holds_up_nobody_else() {
    let (gate, disk) = gated(&filled(LAST));
    let (engine, mut pump) = open(disk, Threads::Spawned, LAST);
    lead(&engine, &mut pump);
    gate.close();
    lacks(&mut pump, 10);
    gate.wait_for_one();
    // The read waits at the gate. Meanwhile node 3 gets entries, and entries are committed and applied.
    for _ in 0..3 {
        pump.propose(vec![], b"goes on".to_vec()).unwrap();
        _ = pump.tick().unwrap();
        settle(&engine, &mut pump);
        let mut ack = message(MessageType::MsgAppendResponse, 3, 2);
        ack.index = pump.raft().raft_log.last_index();
        pump.step(ack).unwrap();
        // Node 2 requests the entries again.
        pump.step(message(MessageType::MsgHeartbeatResponse, 2, 2)).unwrap();
        while pump.poll().unwrap().is_worked() {}
    }
    assert_eq!(pump.applied(), LAST + 4);
    assert_eq!(pump.host_mut().taken(), []);
    gate.open();
    let mut taken = Vec::new();
    while taken.is_empty() {
        // The end of the read wakes the pump.
        _ = pump.wait(Duration::from_secs(60)).unwrap();
        taken = pump.host_mut().taken();
    }
    assert_eq!((taken[0], taken.len()), ((11, 1), 20));
}

#[test]
fn without_the_option_the_caller_reads() {
    let (gate, disk) = gated(&filled(LAST));
    let (engine, _) = Engine::open_in(env(disk, Threads::Stepped), &options()).unwrap();
    let synchronous = PumpOptions::default().with_async_fetch(false);
    let mut pump = Pump::new(&engine, GROUP, &config(1, LAST), Node::default(), synchronous).unwrap();
    lead(&engine, &mut pump);
    let before = gate.reads();
    lacks(&mut pump, 10);
    assert!(gate.reads() > before);
    assert_eq!(pump.host_mut().taken().len(), 20);
}

/// Lets node 3, which leads now, overwrite the log after entry 10.
fn overwritten(engine: &Engine, pump: &mut Pump<Node>) {
    let mut append = message(MessageType::MsgAppend, 3, 5);
    (append.index, append.log_term) = (10, 1);
    for index in 11..=LAST {
        append.mut_entries().push(Entry { index, term: 5, data: vec![5; 10].into(), ..Entry::default() });
    }
    pump.step(append).unwrap();
    _ = pump.poll().unwrap();
    settle(engine, pump);
    assert_eq!(engine.group(GROUP).term_runs(), [(1, 1), (11, 5)]);
}

#[test]
fn what_was_read_for_a_leader_that_stepped_down_goes_nowhere() {
    let disk = filled(10);
    let (engine, mut pump) = open(disk.process(), Threads::Stepped, 10);
    lead(&engine, &mut pump);
    lacks(&mut pump, 10);
    let mut heartbeat = message(MessageType::MsgHeartbeat, 3, 5);
    heartbeat.commit = 10;
    pump.step(heartbeat).unwrap();
    _ = pump.poll().unwrap();
    assert!(pump.wait(Duration::ZERO).unwrap().is_worked(), "the read ends");
    assert_eq!(pump.host_mut().taken(), []);
    overwritten(&engine, &mut pump);
    assert_eq!(pump.raft().state, StateRole::Follower);
    assert!(pump.host().sent.iter().all(|message| message.get_msg_type() != MessageType::MsgAppend));
}

/// Tests a node that leads again and requests the same entries, while the old read still has those that were
/// overwritten.
#[test]
fn entries_that_were_overwritten_while_they_were_read_are_left_out() {
    let (gate, disk) = gated(&filled(10));
    let (engine, mut pump) = open(disk, Threads::Spawned, 10);
    lead(&engine, &mut pump);
    gate.close();
    lacks(&mut pump, 5);
    gate.wait_for_one();
    overwritten(&engine, &mut pump);
    lead(&engine, &mut pump);
    assert_eq!(pump.raft().term, 6);
    lacks(&mut pump, 5);
    gate.open();
    let mut taken = Vec::new();
    while taken.is_empty() {
        _ = pump.wait(Duration::from_secs(60)).unwrap();
        taken = pump.host_mut().taken();
    }
    assert_eq!(taken, (6..=10).map(|index| (index, 1)).collect::<Vec<_>>());
}

#[test]
fn entries_that_were_compacted_while_they_were_to_be_read_are_refused() {
    let disk = filled(LAST);
    let (engine, mut pump) = open(disk.process(), Threads::Stepped, LAST);
    lead(&engine, &mut pump);
    lacks(&mut pump, 10);
    pump.compact(50).unwrap();
    assert!(pump.wait(Duration::ZERO).unwrap().is_worked(), "the read ends");
    assert_eq!(pump.host_mut().taken(), []);
    // The pump continues: a peer that needs only the entries that are left gets them.
    let mut has = message(MessageType::MsgAppendResponse, 2, 2);
    has.index = 60;
    pump.step(has).unwrap();
    assert!(pump.wait(Duration::ZERO).unwrap().is_worked());
    assert_eq!(pump.host_mut().taken()[0], (61, 1));
}

#[test]
fn a_peer_has_one_read_under_way_however_often_it_asks() {
    let reads = |asks: &[u64]| {
        let (gate, disk) = gated(&filled(LAST));
        let (engine, mut pump) = open(disk, Threads::Stepped, LAST);
        lead(&engine, &mut pump);
        for has in asks {
            lacks(&mut pump, *has);
            pump.propose(vec![], b"asks too".to_vec()).unwrap();
            _ = pump.poll().unwrap();
        }
        let before = gate.reads();
        _ = pump.wait(Duration::ZERO).unwrap();
        (gate.reads() - before, pump, engine)
    };
    let (once, ..) = reads(&[100]);
    // The peer reports less each time. The entries that the first read does not cover are read after it.
    let (often, mut pump, _engine) = reads(&[100, 90, 80, 70, 60, 50, 40, 30, 20]);
    assert!(once > 0);
    assert_eq!(often, once);
    assert_eq!(pump.host_mut().taken(), []);
    _ = pump.wait(Duration::ZERO).unwrap();
    assert_eq!(pump.host_mut().taken()[0], (21, 1));
}

#[test]
fn a_read_that_fails_stops_the_pump_without_a_panic() {
    let disk = filled(LAST);
    let (engine, mut pump) = open(disk.process(), Threads::Stepped, LAST);
    lead(&engine, &mut pump);
    lacks(&mut pump, 10);
    disk.fail(FaultRule::forever(FaultOp::Read, 1, FaultError::Io));
    let failed =
        |result: Result<Outcome, Error>| matches!(result, Err(Error::Engine(seawall::Error::Log(_))));
    assert!(failed(pump.wait(Duration::ZERO)));
    assert!(failed(pump.poll()));
    assert_eq!(pump.host_mut().taken(), []);
}

#[test]
fn a_read_that_fails_for_nobody_stops_nothing() {
    let disk = filled(10);
    let (engine, mut pump) = open(disk.process(), Threads::Stepped, 10);
    lead(&engine, &mut pump);
    lacks(&mut pump, 5);
    pump.step(message(MessageType::MsgHeartbeat, 3, 5)).unwrap();
    disk.fail(FaultRule::once(FaultOp::Read, 1, FaultError::Io));
    assert!(pump.wait(Duration::ZERO).unwrap().is_worked(), "the read ends");
    overwritten(&engine, &mut pump);
    lead(&engine, &mut pump);
    lacks(&mut pump, 5);
    assert!(pump.wait(Duration::ZERO).unwrap().is_worked());
    assert_eq!(pump.host_mut().taken()[0], (6, 1));
}

#[test]
fn a_pump_or_an_engine_that_goes_leaves_no_read_behind() {
    // A read that is no longer needed is not made.
    let disk = filled(LAST);
    let (gate, gated_disk) = gated(&disk);
    let (engine, mut pump) = open(gated_disk, Threads::Stepped, LAST);
    lead(&engine, &mut pump);
    lacks(&mut pump, 10);
    let other = Pump::new(&engine, GROUP, &config(1, LAST), Node::default(), PumpOptions::default());
    drop(pump);
    let (before, mut pump) = (gate.reads(), other.unwrap());
    _ = pump.wait(Duration::ZERO).unwrap();
    assert_eq!(gate.reads(), before);
    // A pending read does not keep the engine open.
    lead(&engine, &mut pump);
    lacks(&mut pump, 10);
    drop((pump, engine));
    let (engine, mut pump) = open(disk.process(), Threads::Stepped, LAST);
    // A closed engine makes no reads.
    lead(&engine, &mut pump);
    lacks(&mut pump, 10);
    engine.close().unwrap();
    let closed = pump.wait(Duration::ZERO);
    assert!(matches!(closed, Err(Error::Engine(seawall::Error::Closed))), "{closed:?}");
    drop((pump, engine));
    // With a thread, closing waits for the read under way.
    let (gate, gated_disk) = gated(&disk);
    let (engine, mut pump) = open(gated_disk, Threads::Spawned, LAST);
    lead(&engine, &mut pump);
    gate.close();
    lacks(&mut pump, 10);
    gate.wait_for_one();
    drop(pump);
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| engine.close());
        gate.open();
        closing.join().unwrap().unwrap();
    });
    drop(engine);
    open(disk.process(), Threads::Stepped, LAST);
}
