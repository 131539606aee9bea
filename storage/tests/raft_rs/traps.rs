//! Tests the pump with unusual changes of its group: a change of members that no record can hold, a full disk
//! while one is applied, a group that another caller changes, and a commit index below the compaction point.
//!
//! None of this makes the core panic.

use std::sync::Arc;

use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType, ConfChangeV2, Entry, EntryType, Message, MessageType};
use raft::{Config, RawNode, Storage};
use seawall::raft_rs::{Error, GroupStorage, Host, HostError, Pump, PumpOptions, slog};
use seawall::{ConfState, Engine, EntryRef, HardState, Options, WriteBatch};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

const GROUP: u64 = 1;

#[derive(Default)]
struct Node {
    applied: Vec<u64>,
    members: Vec<u64>,
    /// Index at which the log is filled when it is applied, and the engine to fill.
    fill_at: Option<(u64, Engine)>,
}

impl Host for Node {
    fn send(&mut self, _: Vec<Message>) {}

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        self.applied.extend(entries.iter().map(|entry| entry.index));
        if let Some((at, engine)) = &self.fill_at
            && self.applied.contains(at)
        {
            fill(engine);
            self.fill_at = None;
        }
        Ok(())
    }

    fn members_changed(&mut self, index: u64, _: &raft::eraftpb::ConfState) {
        self.members.push(index);
    }
}

/// Writes until there is no space even for a commit index, which may use the last spare.
fn fill(engine: &Engine) {
    let mut batch = WriteBatch::new();
    for bytes in [10_000, 100, 0] {
        loop {
            let index = engine.group(9).last_index() + 1;
            batch.append(9, &[EntryRef { index, term: 1, payload: &vec![0; bytes] }]);
            if engine.write(&mut batch).is_err() {
                batch.clear();
                break;
            }
        }
    }
    loop {
        batch.hard_state(9, HardState { commit: 1, ..HardState::default() });
        if engine.write(&mut batch).is_err() {
            return;
        }
    }
}

fn start(voters: &[u64], threads: Threads) -> (Arc<SimDisk>, Engine) {
    let disk = SimDisk::new(1, SimOptions::default());
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(1)));
    let env = Env { disk: disk.process(), clock, random, threads };
    let mut options = Options::default();
    options.log.segment_bytes = 256 << 10;
    let engine = Engine::create_in(env, &options).unwrap();
    let conf = ConfState { voters: voters.to_vec(), ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    (disk, engine)
}

fn pump(engine: &Engine, node: Node) -> Pump<Node> {
    // Each Ready applies one entry.
    let config = Config { max_committed_size_per_ready: 1, max_size_per_msg: 1 << 20, ..Config::new(1) };
    Pump::new(engine, GROUP, &config, node, PumpOptions::default()).unwrap()
}

fn settle(engine: &Engine, pump: &mut Pump<Node>) {
    loop {
        engine.flush().unwrap();
        // With threads, a flush may return before the callbacks of its tickets have run.
        if pump.wait(std::time::Duration::from_millis(5)).unwrap().is_idle() && pump.in_flight() == 0 {
            return;
        }
    }
}

#[test]
fn a_change_of_members_that_no_record_can_hold_is_refused() {
    let (_disk, engine) = start(&[1], Threads::Stepped);
    let mut pump = pump(&engine, Node::default());
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    let max = engine.entry_bytes_max().unwrap();
    let large = ConfChangeV2 { context: vec![0; max].into(), ..ConfChangeV2::default() };
    for (context, change) in [(vec![0; max], ConfChangeV2::default()), (vec![], large)] {
        let refused = pump.propose_conf_change(context, change);
        let too_large = matches!(refused, Err(Error::Engine(seawall::Error::EntryTooLarge { .. })));
        assert!(too_large, "{refused:?}");
    }
    pump.propose(vec![], b"the pump continues".to_vec()).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.applied(), 2);
}

/// Returns an append of entries 1 to 3 from leader 2, the second of which adds learner 4.
fn append() -> Message {
    let mut append = Message::default();
    append.set_msg_type(MessageType::MsgAppend);
    (append.from, append.to, append.term) = (2, 1, 1);
    for index in 1..=3 {
        let mut entry = Entry { index, term: 1, ..Entry::default() };
        if index == 2 {
            let mut change = ConfChange { node_id: 4, ..ConfChange::default() };
            change.set_change_type(ConfChangeType::AddLearnerNode);
            entry.set_entry_type(EntryType::EntryConfChange);
            entry.data = change.write_to_bytes().unwrap().into();
        }
        append.mut_entries().push(entry);
    }
    append
}

#[test]
fn a_full_disk_in_the_middle_of_a_change_of_members_holds_the_pump_up_and_no_more() {
    // With threads: one of them tries again when there is space.
    let (disk, engine) = start(&[1, 2, 3], Threads::Spawned);
    let node = Node { fill_at: Some((1, engine.clone())), ..Node::default() };
    let mut pump = pump(&engine, node);
    pump.step(append()).unwrap();
    settle(&engine, &mut pump);
    disk.set_capacity(Some(0));
    let mut heartbeat = Message::default();
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    (heartbeat.from, heartbeat.to, heartbeat.term, heartbeat.commit) = (2, 1, 1, 3);
    pump.step(heartbeat).unwrap();
    for _ in 0..3 {
        assert!(pump.poll().unwrap().is_stalled(), "the disk is full");
        assert!(pump.tick().unwrap().is_stalled(), "the change comes first");
    }
    assert_eq!((&pump.host().applied[..], &pump.host().members[..]), (&[1][..], &[][..]));
    disk.set_capacity(None);
    for _ in 0..500 {
        if !pump.poll().unwrap().is_stalled() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    settle(&engine, &mut pump);
    assert_eq!((&pump.host().applied[..], &pump.host().members[..]), (&[1, 2, 3][..], &[2][..]));
    assert_eq!(engine.group(GROUP).conf_state().unwrap().learners, [4]);
    assert_eq!(pump.raft().prs().conf().learners().iter().collect::<Vec<_>>(), [&4]);
}

/// Tests a caller that changes the group of a pump, which it should not. A process with many groups must not
/// end because of it, and no state machine may miss an entry.
#[test]
fn a_group_that_is_changed_under_a_pump_stops_it_without_a_panic() {
    for how in ["removed", "cut", "compacted"] {
        let (_disk, engine) = start(&[1, 2, 3], Threads::Stepped);
        let mut pump = pump(&engine, Node::default());
        pump.step(append()).unwrap();
        settle(&engine, &mut pump);
        let mut batch = WriteBatch::new();
        match how {
            "removed" => batch.remove_group(GROUP),
            "cut" => batch.append(GROUP, &[EntryRef { index: 1, term: 1, payload: b"\0\0" }]),
            _ => batch.compact(GROUP, 2),
        };
        drop(engine.write(&mut batch).unwrap());
        let mut heartbeat = Message::default();
        heartbeat.set_msg_type(MessageType::MsgHeartbeat);
        (heartbeat.from, heartbeat.to, heartbeat.term, heartbeat.commit) = (2, 1, 1, 3);
        let error = pump.step(heartbeat).and_then(|()| pump.poll().map(|_| ())).expect_err(how);
        assert_eq!(
            matches!(error, Error::Applied { applied: 0, point: 2, .. }),
            how == "compacted",
            "{error}"
        );
        assert!(pump.host().applied.is_empty());
        assert!(pump.poll().is_err());
    }
}

#[test]
fn a_commit_index_behind_the_compaction_point_does_not_keep_a_node_from_starting() {
    let (_disk, engine) = start(&[1, 2, 3], Threads::Stepped);
    let mut batch = WriteBatch::new();
    batch.set_start(GROUP, 7, 2).hard_state(GROUP, HardState { term: 2, vote: 1, commit: 3 });
    drop(engine.write(&mut batch).unwrap());
    let store = GroupStorage::new(&engine, GROUP);
    assert_eq!(store.initial_state().unwrap().hard_state.commit, 7);
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&Config { applied: 7, ..Config::new(1) }, store, &logger).unwrap();
}
