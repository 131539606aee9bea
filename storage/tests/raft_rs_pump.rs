//! The pump's order, on a simulated disk that does nothing until it is told to: what leaves when, what
//! the core hears when, and what happens when the disk fails or is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, Message, MessageType};
use raft::{Config, StateRole};
use seawall::raft_rs::{Error, GroupStorage, Host, HostError, Pump, PumpOptions};
use seawall::{ConfState, Engine, EntryRef, HardState, Options, Ticket, WriteBatch};
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

const GROUP: u64 = 1;

#[derive(Default)]
struct Node {
    sent: Vec<Message>,
    applied: Vec<Entry>,
    members: Vec<u64>,
    fail: bool,
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
        Ok(())
    }

    fn members_changed(&mut self, index: u64, _: &raft::eraftpb::ConfState) {
        self.members.push(index);
    }
}

impl Node {
    /// Kind and index of the messages sent since the last call.
    fn take(&mut self) -> Vec<(MessageType, u64)> {
        self.sent.drain(..).map(|m| (m.get_msg_type(), m.index)).collect()
    }
}

fn options() -> Options {
    let mut options = Options { compression: None, ..Options::default() };
    options.log.segment_bytes = 256 << 10;
    // Records above this size have a group, and so a write, of their own.
    options.log.group_bytes = 4096;
    options
}

fn env(disk: &Arc<SimDisk>) -> Env {
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(1)));
    Env { disk: disk.process(), clock, random, threads: Threads::Stepped }
}

/// Node 1 of `voters`, on a disk that writes when the engine is flushed.
fn start(voters: &[u64]) -> (Arc<SimDisk>, Engine, Pump<Node>) {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(env(&disk), &options()).unwrap();
    let conf = ConfState { voters: voters.to_vec(), ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let pump = pump(&engine, 0).unwrap();
    (disk, engine, pump)
}

fn pump(engine: &Engine, applied: u64) -> Result<Pump<Node>, Error> {
    let config = Config { applied, max_size_per_msg: 1 << 20, ..Config::new(1) };
    Pump::new(engine, GROUP, &config, Node::default(), PumpOptions::default())
}

fn reopen(disk: &Arc<SimDisk>, applied: u64) -> (Engine, Result<Pump<Node>, Error>) {
    let (engine, _) = Engine::open_in(env(disk), &options()).unwrap();
    let pump = pump(&engine, applied);
    (engine, pump)
}

fn message(kind: MessageType, from: u64, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, 1, term);
    message
}

/// An append of entries `first..=last` in `term`, of `bytes` each, behind an entry of term `before`.
fn appends(term: u64, before: u64, first: u64, last: u64, bytes: usize) -> Message {
    let mut append = message(MessageType::MsgAppend, 2, term);
    (append.index, append.log_term) = (first - 1, before);
    for index in first..=last {
        let mut entry = Entry { index, term, ..Entry::default() };
        entry.data = vec![7; bytes].into();
        append.mut_entries().push(entry);
    }
    append
}

/// A write of another group: whoever waits for it makes everything before it durable, and nothing else.
fn barrier(engine: &Engine) -> Ticket {
    let mut batch = WriteBatch::new();
    let index = engine.group(9).last_index() + 1;
    batch.append(9, &[EntryRef { index, term: 1, payload: b"barrier" }]);
    engine.write(&mut batch).unwrap()
}

const ACK: MessageType = MessageType::MsgAppendResponse;

#[test]
fn a_duplicate_append_is_not_acknowledged_before_the_entries_are_durable() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    let append = appends(1, 0, 1, 1, 10);
    pump.step(append.clone()).unwrap();
    pump.poll().unwrap();
    pump.step(append).unwrap();
    pump.poll().unwrap();
    assert_eq!(pump.in_flight(), 2, "the second has no entries and need not be synced");
    assert_eq!(pump.host_mut().take(), []);
    engine.flush().unwrap();
    assert_eq!(pump.host_mut().take(), []);
    assert!(pump.poll().unwrap());
    assert_eq!(pump.host_mut().take(), [(ACK, 1), (ACK, 1)]);
    assert_eq!(pump.in_flight(), 0);
    assert!(!pump.poll().unwrap());
}

#[test]
fn a_vote_that_arrives_while_entries_are_in_flight_does_no_harm() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 2, 10)).unwrap();
    pump.poll().unwrap();
    pump.campaign().unwrap();
    pump.poll().unwrap();
    assert_eq!(pump.host_mut().take(), [], "neither acknowledgement nor vote request");
    // An answer to a request that has not left: the core would panic.
    let vote = message(MessageType::MsgRequestVoteResponse, 2, 2);
    pump.step(vote.clone()).unwrap();
    pump.poll().unwrap();
    assert_eq!(pump.raft().state, StateRole::Candidate);
    engine.flush().unwrap();
    // The last Ready is not taken yet, and this vote counts: `step` tells the core first what is durable.
    pump.step(vote.clone()).unwrap();
    assert_eq!(pump.raft().state, StateRole::Leader);
    pump.poll().unwrap();
    let request = MessageType::MsgRequestVote;
    assert_eq!(pump.host_mut().take()[..3], [(ACK, 2), (request, 2), (request, 2)]);
}

#[test]
fn the_only_voter_of_a_group_is_not_elected_while_entries_are_in_flight() {
    let (_disk, engine, mut pump) = start(&[1]);
    pump.step(appends(1, 0, 1, 2, 10)).unwrap();
    pump.poll().unwrap();
    for _ in 0..100 {
        pump.tick().unwrap();
    }
    assert!(matches!(pump.campaign(), Err(Error::Core(_))));
    pump.step(message(MessageType::MsgTimeoutNow, 2, 1)).unwrap();
    assert_eq!(pump.raft().state, StateRole::Follower);
    engine.flush().unwrap();
    pump.campaign().unwrap();
    assert_eq!(pump.raft().state, StateRole::Leader);
    settle(&engine, &mut pump);
    assert_eq!(pump.applied(), 3);
}

#[test]
fn kept_messages_leave_in_order_as_the_readys_become_durable() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    let mut barriers = Vec::new();
    for index in 1..=4 {
        pump.step(appends(1, 1.min(index - 1), index, index, 5000)).unwrap();
        pump.poll().unwrap();
        // A heartbeat's answer rests on nothing of its own, and still does not overtake.
        pump.step(message(MessageType::MsgHeartbeat, 2, 1)).unwrap();
        pump.poll().unwrap();
        barriers.push(barrier(&engine));
    }
    assert_eq!(pump.in_flight(), 8);
    for (index, barrier) in (1..).zip(barriers) {
        assert_eq!(pump.host_mut().take(), []);
        barrier.wait().unwrap();
        pump.poll().unwrap();
        assert_eq!(pump.host_mut().take(), [(ACK, index), (MessageType::MsgHeartbeatResponse, 0)]);
        assert_eq!(pump.raft().raft_log.persisted, index);
    }
}

#[test]
fn nothing_leaves_after_the_log_failed() {
    for op in [FaultOp::Write, FaultOp::Sync] {
        let mode = match op {
            FaultOp::Sync => seawall_wal::disk::Mode::Buffered,
            _ => seawall_wal::disk::Mode::Direct,
        };
        let disk = SimDisk::new(1, SimOptions { mode, ..SimOptions::default() });
        let engine = Engine::create_in(env(&disk), &options()).unwrap();
        let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
        let mut pump = pump(&engine, 0).unwrap();
        for index in 1..=3 {
            pump.step(appends(1, 1.min(index - 1), index, index, 5000)).unwrap();
            pump.poll().unwrap();
        }
        disk.fail(FaultRule::once(op, 1, FaultError::Io));
        assert!(engine.flush().is_err());
        let stopped = |result: Result<bool, Error>| {
            matches!(result, Err(Error::Engine(seawall::Error::Log(seawall_wal::Error::Latched { .. }))))
        };
        assert!(stopped(pump.poll()));
        assert!(stopped(pump.poll()));
        assert!(stopped(pump.wait(std::time::Duration::from_secs(60))));
        assert!(stopped(pump.propose(vec![], vec![]).map(|()| true)));
        assert!(stopped(pump.step(message(MessageType::MsgHeartbeat, 2, 1)).map(|()| true)));
        assert!(stopped(pump.tick().map(|()| true)));
        assert_eq!(pump.host_mut().take(), []);
        assert!(pump.host().applied.is_empty());
    }
}

#[test]
fn a_commit_index_alone_waits_for_no_flush() {
    let (disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 1, 10)).unwrap();
    pump.poll().unwrap();
    engine.flush().unwrap();
    pump.poll().unwrap();
    pump.host_mut().take();
    let operations = disk.operations();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 1);
    heartbeat.commit = 1;
    pump.step(heartbeat).unwrap();
    pump.poll().unwrap();
    assert_eq!(pump.host_mut().take(), [(MessageType::MsgHeartbeatResponse, 0)]);
    assert_eq!(pump.applied(), 1);
    assert_eq!(pump.in_flight(), 0);
    // Applying read an entry; nothing was written.
    assert!(disk.operations() - operations <= 2);
    assert_eq!(engine.group(GROUP).hard_state().commit, 1);
    engine.close().unwrap();
    let (engine, _) = Engine::open_in(env(&disk), &options()).unwrap();
    assert_eq!(engine.group(GROUP).hard_state().commit, 1, "a clean close keeps it");
}

#[test]
fn a_single_node_applies_what_is_durable() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(env(&disk), &options()).unwrap();
    let conf = ConfState { voters: vec![1], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let options = PumpOptions { wake: Some(wake), ..PumpOptions::default() };
    let mut pump = Pump::new(&engine, GROUP, &Config::new(1), Node::default(), options).unwrap();
    pump.campaign().unwrap();
    pump.propose(b"context".to_vec(), b"data".to_vec()).unwrap();
    pump.poll().unwrap();
    assert_eq!((pump.applied(), woken.load(Ordering::SeqCst)), (0, 0));
    engine.flush().unwrap();
    assert!(woken.load(Ordering::SeqCst) > 0);
    while pump.poll().unwrap() {}
    assert_eq!(pump.applied(), 2);
    let node = pump.into_host();
    assert_eq!(&node.applied[1].context[..], b"context");
    assert_eq!(&node.applied[1].data[..], b"data");
}

#[test]
fn a_suffix_overwritten_in_flight_is_acknowledged_as_it_is() {
    let (disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 3, 10)).unwrap();
    pump.poll().unwrap();
    pump.step(appends(2, 1, 2, 2, 20)).unwrap();
    pump.poll().unwrap();
    engine.flush().unwrap();
    pump.poll().unwrap();
    assert_eq!(pump.host_mut().take(), [(ACK, 3), (ACK, 2)]);
    assert_eq!(pump.raft().raft_log.persisted, 2);
    drop(pump);
    drop(engine);
    disk.crash();
    let (engine, pump) = reopen(&disk, 0);
    assert_eq!(engine.group(GROUP).term_runs(), [(1, 1), (2, 2)]);
    assert_eq!(pump.unwrap().raft().raft_log.last_index(), 2);
}

fn joint(kind: ConfChangeType, id: u64) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id;
    change.set_changes(vec![single].into());
    change.set_transition(raft::eraftpb::ConfChangeTransition::Explicit);
    change
}

fn settle(engine: &Engine, pump: &mut Pump<Node>) {
    loop {
        engine.flush().unwrap();
        // With threads, a flush may return before the callbacks of its tickets have run.
        if !pump.wait(std::time::Duration::from_millis(5)).unwrap() && pump.in_flight() == 0 {
            return;
        }
    }
}

#[test]
fn members_survive_a_restart_whatever_the_state_machine_remembers() {
    let (disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.propose_conf_change(vec![], joint(ConfChangeType::AddLearnerNode, 2)).unwrap();
    settle(&engine, &mut pump);
    pump.propose_conf_change(vec![], ConfChangeV2::default()).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.host().members, [2, 3]);
    // Not allowed: the group would have no voter.
    pump.propose_conf_change(vec![], joint(ConfChangeType::RemoveNode, 1)).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.host().members, [2, 3]);
    assert_eq!(pump.applied(), 4);
    drop((pump, engine));
    disk.crash();
    for applied in 0..=4 {
        let (engine, pump) = reopen(&disk, applied);
        let mut pump = pump.unwrap();
        settle(&engine, &mut pump);
        pump.campaign().unwrap();
        settle(&engine, &mut pump);
        let conf = engine.group(GROUP).conf_state().unwrap();
        assert_eq!((&conf.voters[..], &conf.learners[..], conf.index), (&[1][..], &[2][..], 3));
        let applied_now: Vec<u64> = pump.host().applied.iter().map(|e| e.index).collect();
        assert_eq!(applied_now, (applied + 1..=pump.applied()).collect::<Vec<_>>());
        assert!(pump.host().members.is_empty());
        assert_eq!(pump.raft().prs().conf().learners().iter().collect::<Vec<_>>(), [&2]);
        drop((pump, engine));
        disk.crash();
    }
}

#[test]
fn log_and_state_machine_must_fit_together() {
    let (disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.propose(vec![], b"x".to_vec()).unwrap();
    settle(&engine, &mut pump);
    assert!(matches!(pump.compact(3), Err(Error::NotApplied { index: 3, applied: 2 })));
    pump.compact(1).unwrap();
    engine.close().unwrap();
    drop((pump, engine));
    for applied in [0, 3] {
        let (_engine, pump) = reopen(&disk, applied);
        let error = pump.unwrap_err();
        assert!(matches!(error, Error::Applied { point: 1, last_index: 2, .. }), "{error}");
    }
    let (engine, pump) = reopen(&disk, 1);
    settle(&engine, &mut pump.unwrap());
    let unknown = Pump::new(&engine, 5, &Config::new(1), Node::default(), PumpOptions::default());
    assert!(matches!(unknown, Err(Error::NoMembers { group: 5 })));
    let nobody = Pump::new(&engine, 1, &Config::default(), Node::default(), PumpOptions::default());
    assert!(matches!(nobody, Err(Error::Core(_))));
    let options = PumpOptions { readys_max: 0, ..PumpOptions::default() };
    let none = Pump::new(&engine, 1, &Config::new(1), Node::default(), options);
    assert!(matches!(none, Err(Error::NoReadys)));
}

#[test]
fn a_commit_index_lost_in_a_crash_follows_the_state_machine() {
    let (disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 2, 10)).unwrap();
    pump.poll().unwrap();
    engine.flush().unwrap();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 1);
    heartbeat.commit = 2;
    pump.step(heartbeat).unwrap();
    pump.poll().unwrap();
    assert_eq!(pump.applied(), 2);
    drop((pump, engine));
    disk.crash();
    let (engine, pump) = reopen(&disk, 2);
    assert_eq!(pump.unwrap().raft().raft_log.committed, 2);
    assert_eq!(engine.group(GROUP).hard_state().commit, 2);
}

#[test]
fn a_ready_larger_than_a_record_becomes_several() {
    let (disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(3, 0, 1, 20, 30_000)).unwrap();
    pump.poll().unwrap();
    assert_eq!(pump.in_flight(), 1);
    assert_eq!(pump.host_mut().take(), []);
    engine.flush().unwrap();
    pump.poll().unwrap();
    assert_eq!(pump.host_mut().take(), [(ACK, 20)]);
    engine.close().unwrap();
    let (engine, pump) = reopen(&disk, 0);
    assert_eq!(engine.group(GROUP).last_index(), 20);
    assert_eq!(pump.unwrap().raft().term, 3);
}

#[test]
fn a_full_disk_holds_the_pump_up_and_no_more() {
    // With threads: one of them tries again when there is space.
    let disk = SimDisk::new(1, SimOptions::default());
    let env = Env { threads: Threads::Spawned, ..env(&disk) };
    let engine = Engine::create_in(env, &options()).unwrap();
    let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let mut pump = pump(&engine, 0).unwrap();
    disk.set_capacity(Some(0));
    let mut next = 1;
    let full = loop {
        let appended = pump.step(appends(1, 1.min(next - 1), next, next, 100_000));
        if let Err(error) = appended.and_then(|()| pump.poll()) {
            break error;
        }
        next += 1;
        assert!(next < 100, "the disk is full");
    };
    assert!(full.is_no_space(), "{full}");
    assert!(pump.poll().unwrap_err().is_no_space());
    assert!(pump.tick().unwrap_err().is_no_space());
    engine.flush().unwrap();
    let (written, sent) = (engine.group(GROUP).last_index(), pump.host_mut().take());
    assert!(sent.iter().all(|m| m.1 <= written), "{sent:?} of {written}");
    disk.set_capacity(None);
    while pump.poll().is_err_and(|error| error.is_no_space()) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    settle(&engine, &mut pump);
    assert_eq!(engine.group(GROUP).last_index(), next);
    assert_eq!(pump.host_mut().take().last(), Some(&(ACK, next)));
}

#[test]
fn readys_in_flight_are_bounded() {
    let (_disk, engine, pump) = start(&[1, 2, 3]);
    drop(pump);
    let options = PumpOptions { readys_max: 2, ..PumpOptions::default() };
    let mut pump = Pump::new(&engine, GROUP, &Config::new(1), Node::default(), options).unwrap();
    for index in 1..=5 {
        pump.step(appends(1, 1.min(index - 1), index, index, 10)).unwrap();
        pump.poll().unwrap();
        assert_eq!(pump.in_flight(), 2.min(usize::try_from(index).unwrap()));
    }
    settle(&engine, &mut pump);
    assert_eq!(pump.host_mut().take().last(), Some(&(ACK, 5)));
}

#[test]
fn what_one_caller_does_wrong_stops_nothing() {
    let (_disk, engine, mut pump) = start(&[1]);
    assert!(matches!(pump.propose(vec![], vec![]), Err(Error::Core(_))), "no leader yet");
    pump.campaign().unwrap();
    let max = engine.entry_bytes_max().unwrap();
    let large = pump.propose(vec![], vec![0; max]);
    assert!(matches!(large, Err(Error::Engine(seawall::Error::EntryTooLarge { .. }))), "{large:?}");
    pump.propose(vec![], vec![0; max - 8]).unwrap();
    assert!(matches!(pump.step(message(MessageType::MsgHup, 1, 1)), Err(Error::Core(_))));
    let snapshot = pump.step(message(MessageType::MsgSnapshot, 2, 1));
    assert!(matches!(snapshot, Err(Error::Snapshot { from: 2 })));
    settle(&engine, &mut pump);
    assert_eq!(pump.applied(), 2);
}

#[test]
fn an_entry_that_cannot_be_read_stops_the_pump_without_a_panic() {
    let (_disk, engine, pump) = start(&[1]);
    drop(pump);
    let mut batch = WriteBatch::new();
    batch.append(GROUP, &[EntryRef { index: 1, term: 1, payload: b"\x09foreign" }]);
    batch.hard_state(GROUP, HardState { term: 1, vote: 1, commit: 1 });
    engine.write(&mut batch).unwrap().wait().unwrap();
    let mut by_ready = pump_of(&engine);
    assert!(matches!(by_ready.poll(), Err(Error::Entry { index: 1, .. })));
    assert!(matches!(by_ready.tick(), Err(Error::Entry { index: 1, .. })));
    let mut by_campaign = pump_of(&engine);
    assert!(matches!(by_campaign.campaign(), Err(Error::Entry { index: 1, .. })));
    assert_eq!(by_campaign.host_mut().take(), []);
}

fn pump_of(engine: &Engine) -> Pump<Node> {
    pump(engine, 0).unwrap()
}

#[test]
fn a_state_machine_that_fails_stops_the_pump() {
    let (_disk, engine, mut pump) = start(&[1]);
    pump.host_mut().fail = true;
    pump.campaign().unwrap();
    pump.poll().unwrap();
    engine.flush().unwrap();
    assert!(matches!(pump.poll(), Err(Error::Host(_))));
    pump.host_mut().fail = false;
    assert!(matches!(pump.poll(), Err(Error::Host(_))));
    assert_eq!(pump.applied(), 0);
}
